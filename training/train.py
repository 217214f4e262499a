"""Labelled images in, a bundle out: decode → plan → fit → export → measure → calibrate. What ``lookalike train`` does.

All that decides the result is in the settings; the machine decides how long it takes, and with ``minutes`` the epochs.
"""

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from safetensors.torch import load_file

from model import backbones, confidence
from model import bundle as bundles
from model.bundle import Bundle, check_target
from model.encoder import open_encoder
from model.network import EmbeddingNetwork
from model.transform import Transform

from . import audit, singles, watch
from .calibrate import SIZES, calibrate, some_classes
from .config import TrainingConfig
from .datasets import DataError
from .datasets.check import decode
from .datasets.labels import Dataset
from .datasets.memory import available_memory, fits, open_store
from .datasets.pixels import Squeeze, digest
from .datasets.problems import Problem
from .datasets.split import SPLITS
from .evaluate import check, evaluate, measure, saw_tests
from .examples import Examples, of
from .export import save
from .plan import Costs, plan
from .processes import Processes, joined
from .report import CARD, PAGE, Images, Material, report
from .run import Phase, Run, RunError, asked_to_stop
from .trainer import Embed, Step, Trained, TrainingDiverged, Validate, architecture, fit

_JUDGED = 4_000  # validation images at most that are measured after each epoch
_SAMPLE = 200  # pictures that the runtimes are compared on


@dataclass(frozen=True)
class Audience:
    """Who is told what goes on. By default nobody."""

    progress: Progress = field(default_factory=lambda: Progress(disable=True))
    warnings: Callable[[list[Problem]], None] = lambda _: None
    plan: Callable[[dict[str, Any]], None] = lambda _: None
    epochs: Callable[[list[dict[str, Any]]], None] = lambda _: None  # the records of all so far


@dataclass(frozen=True)
class Options:
    """What is asked for beside the settings. ``minutes``: take the epochs that fit; ``start``: a bundle to start from;
    ``final_fit``: in the end train anew on all classes; ``memory``: bytes that pixels may take, by default half of the free;
    ``audit``: judge the labels that are learnt from, and ``comparison``: a folder of ``compare``; both are for the report."""

    mask: str | None = None
    minutes: float | None = None
    start: Path | None = None
    final_fit: bool = False
    resume: bool = False
    memory: int | None = None
    audit: bool = False
    comparison: Path | None = None


@dataclass(frozen=True)
class Seen:
    """The pixels of all images: as the finished network will see them, and as training takes them.

    ``place`` [N]: the row of each image in ``for_training``; ``aspects`` are theirs before they were squeezed into squares.
    """

    pixels: np.ndarray
    for_training: np.ndarray
    place: np.ndarray
    aspects: np.ndarray | None = None


def train(
    data: Dataset, to: Path, config: TrainingConfig, options: Options | None = None, audience: Audience | None = None
) -> Bundle | None:
    """Fit on the train classes, choose and calibrate on the validation classes, measure once on the test classes.

    Of several processes only the first has a bundle to return. Raises a ``Failure``; what was learnt up to the last
    checkpoint is then kept in ``TO.run``.
    """
    options = options or Options()
    with joined() as processes:
        audience = audience if audience and processes.first else Audience()
        check_target(to)
        # Whatever is wrong with the pictures to be measured is told now, not after the training.
        check(data.split("test").table, options.mask, data.root)
        data.split("train")  # there must be some
        config, start, source = _start(options.start, config, data)
        config = _at_fixed_size(config)
        return _Making(data, to, config, options, audience, processes, start, source).bundle()


class _Making:
    """One bundle in the making."""

    def __init__(
        self,
        data: Dataset,
        to: Path,
        config: TrainingConfig,
        options: Options,
        audience: Audience,
        processes: Processes,
        start: EmbeddingNetwork | None,
        source: dict[str, Any] | None,
    ) -> None:
        self.data, self.to, self.config, self.options = data, to, config, options
        self.audience, self.processes, self.start, self.source = audience, processes, start, source
        self.began = time.monotonic()
        self.labels = np.array(data.labels)
        self.rows = {split: np.flatnonzero(np.array(data.table["split"]) == split) for split in SPLITS}
        self.run = Run(to, writes=processes.first)
        self.comparison = None if options.comparison is None else _comparison(options.comparison)
        self.origin = backbones.origin(config.backbone, config.weights)  # now, while the file is there

    def bundle(self) -> Bundle | None:
        self._first(lambda: self.run.begin(self._asked(), self.options.resume))
        self.seen = self._look()
        self.validate = self._validation()
        self.suspects = self._settled("suspects", self._audit) if self.options.audit else None
        self._settle()
        trained = self._fit("train", self.rows["train"], self.validate)
        made = self._first(lambda: self._measured(trained))
        if self.options.final_fit:
            final = self._fit("final", np.arange(len(self.data)), None, until=trained.epoch)
            made = self._first(lambda: self._final(final, trained))
        self.run.end()
        return made

    def _first(self, act: Callable[[], Any]) -> Any:
        """Done by the first process, while the others wait; None for them."""
        done = act() if self.processes.first else None
        self.processes.agreed(None)
        return done

    def _settled(self, name: str, decide: Callable[[], Any]) -> Any:
        """What was decided once, in this run or in the one that it resumes, is the same in all processes."""
        known = self.processes.agreed(self.run.decided(name))
        if known is None:
            known = self.processes.agreed(decide())
            self.run.decide(name, known)
        return known

    def _asked(self) -> dict[str, Any]:
        """What makes one training another than the next, as JSON."""
        return {
            **self.config.model_dump(mode="json"),
            "data": str(self.data.root),
            "splitting": self.data.splitting and self.data.splitting.model_dump(),
            "mask": self.options.mask,
            "minutes": self.options.minutes,
            "from": self.source,
            "final_fit": self.options.final_fit,
        }

    # Pixels

    def _look(self) -> Seen:
        """Every picture is decoded once. Where the pixels go beyond the memory, they lie in the run's folder."""
        config, count = self.config, len(self.data)
        whole = Transform(size=config.image_size, fit=config.fit)
        # A crop is cut out of the whole picture, of which the network's own transform may keep the middle only.
        squeeze = Squeeze(size=math.ceil(config.image_size * 8 / 7)) if config.augmentation.window == "crop" else None
        wanted = np.arange(count) if self.options.final_fit else self.rows["train"]
        images, size = count + (len(wanted) if squeeze else 0), (squeeze or whole).size
        in_file = self.processes.size > 1 or not fits(images, size, self.options.memory or available_memory() // 2)
        in_file = self.processes.agreed(in_file)
        pixels, _ = self._read(self.data, whole, "pixels.npy" if in_file else None)
        if squeeze is None:
            return Seen(pixels, pixels, np.arange(count))
        squeezed, aspects = self._read(self.data.rows(wanted.tolist()), squeeze, "squeezed.npy" if in_file else None)
        place = np.zeros(count, np.int64)
        place[wanted] = np.arange(len(wanted))
        return Seen(pixels, squeezed, place, aspects)

    def _read(self, part: Dataset, transform: Transform | Squeeze, name: str | None) -> tuple[np.ndarray, np.ndarray]:
        store = self.run.folder / name if name else None
        pixels, told = np.empty(0), None
        if self.processes.first:
            task = self.audience.progress.add_task("Reading pictures", total=len(part))
            pictures, warnings = decode(part, transform, lambda n: self.audience.progress.advance(task, n), store=store)
            self.audience.warnings(warnings)
            pixels, told = pictures.pixels, (pictures.aspects, digest(part, pictures))
        aspects, found = self.processes.agreed(told)
        if self._settled(f"{type(transform).__name__} pictures", lambda: found) != found:
            raise RunError(
                f"The pictures of {self.data.root} are not those that this training began with. Bring them back, or remove "
                f"{self.run.folder} to begin anew."
            )
        return (open_store(store, len(part), transform.size) if store and not self.processes.first else pixels), aspects

    def _examples(self, rows: np.ndarray) -> Examples:
        labels, files = self.labels[rows].tolist(), [self.data.table["path"][row] for row in rows]
        found = of(self.seen.for_training, labels, files, self.seen.place[rows], self.seen.aspects)
        if self.config.singles != "leave":
            return found
        kept = singles.several(found)
        if not len(kept):
            raise DataError(f"{self.data.root}: every class has one image only. Learn from them with --set singles=keep.")
        return found.some(kept)

    # Choices

    def _audit(self) -> list[dict[str, Any]]:
        """Images to learn from whose label is likelier wrong than right, the likeliest first. Before the training, because
        what has learnt from wrong labels is no judge of them."""
        rows, progress = self.rows["train"], self.audience.progress
        looking, judging = (
            progress.add_task("Auditing labels", total=len(rows)),
            progress.add_task("Judging", total=audit.STEPS),
        )
        network = self.start or EmbeddingNetwork(architecture(self.config), pretrained=True, weights=self.config.weights)
        seen = audit.features(self.seen.pixels[rows], network, lambda n: progress.advance(looking, n))
        learn = audit.on_features(seen, self.config)
        found = audit.judge(self.data.rows(rows.tolist()), learn, self.config.seed, lambda n: progress.advance(judging, n))
        return [{"row": int(rows[each.row]), "looks_like": each.looks_like} for each in found.suspects(None, audit.LIKELY)]

    def _validation(self) -> Validate | None:
        """How good a network is on the validation classes, of which ``_JUDGED`` images at most are looked at; None without."""
        rows = self.rows["validation"]
        rows = rows if len(rows) <= _JUDGED else some_classes(rows, self.labels, _JUDGED)
        columns = self.data.rows(rows.tolist()).table
        try:
            check(columns)
        except DataError:  # nothing to be found there
            return None
        pixels = self.seen.pixels[rows]

        def validate(embed: Embed) -> dict[str, float]:
            figures = measure(embed(pixels), columns).figures
            return {name: round(figures[name], 6) for name in ("map@r", "recall@1")}

        return validate

    def _settle(self) -> None:
        """Decide what the settings left open, and tell the plan."""
        if self.config.singles == "auto":
            self._change(singles=self._settled("singles", self._choose_singles))
        examples = self._examples(self.rows["train"])
        judged = min(_JUDGED, len(self.rows["validation"])) if self.validate else 0
        costs = Costs(examples, self.config, judged, self.processes, exact=self.options.minutes is not None)
        of_final = len(self.data) if self.options.final_fit else None
        if self.options.minutes:
            left = 60 * self.options.minutes - (time.monotonic() - self.began)
            self._change(epochs=self._settled("epochs", lambda: costs.epochs_in(left, of_final)))
        counts = {
            split: {"images": len(rows), "classes": len(np.unique(self.labels[rows]))} for split, rows in self.rows.items()
        }
        self.run.plan = plan(self.to.name, counts, examples, self.config, costs, of_final)
        self.audience.plan(self.run.plan)
        self.run.show("running")

    def _choose_singles(self) -> str:
        examples = self._examples(self.rows["train"])
        if self.validate is None or len(singles.several(examples)) in (0, len(examples)):
            return "keep"
        found = singles.compared(examples, self.config, self.validate, self.start, self.processes)
        return max(found, key=lambda choice: found[choice])

    def _change(self, **values: Any) -> None:
        self.config = self.config.model_copy(update=values)

    # The network

    def _fit(self, name: str, rows: np.ndarray, validate: Validate | None, until: int | None = None) -> Trained:
        examples, epochs = self._examples(rows), self.config.epochs if until is None else until
        progress = self.audience.progress
        looking = progress.add_task("Preparing", total=self.config.views * len(examples), visible=False)
        task = progress.add_task("Training", total=None)

        def looked(images: int) -> None:
            progress.update(looking, advance=images, visible=True)  # never, where a resumed run has that behind it

        def told(step: Step, note: str) -> None:
            progress.update(task, completed=step.step, total=step.steps // step.epochs * epochs, note=note)

        with asked_to_stop() as stops:
            phase = Phase(self.run, name, stops, looked, told, self.audience.epochs)
            try:
                return fit(
                    examples,
                    self.config,
                    start=copy.deepcopy(self.start),
                    validate=validate,
                    until=until,
                    processes=self.processes,
                    listener=phase,
                )
            except TrainingDiverged as failure:
                self.run.show(f"diverged: {failure}")
                raise

    def _measured(self, trained: Trained) -> Bundle:
        """The bundle of the run that leaves validation and test classes out, with what it is worth."""
        if self.options.final_fit and (self.run.measured / "bundle.json").exists():
            return bundles.load(self.run.measured)
        to = self.run.measured if self.options.final_fit else self.to
        return self._save(trained, to, self.rows["train"], lambda bundle: self._reports(bundle, trained))

    def _final(self, final: Trained, trained: Trained) -> Bundle:
        """The bundle of the run on all classes, with the figures of the other one."""
        measured = bundles.load(self.run.measured)
        figures = metrics(measured) | {
            "run": {"trained_on": ["train"], "fingerprint": measured.fingerprint, "epoch": trained.epoch}
        }
        found: dict[str, Any] = {"metrics.json": figures}
        found |= {name: (measured.path / name).read_text(encoding="utf-8") for name in (PAGE, CARD)}
        if (calibrated := confidence.load(measured)) is not None:
            found[confidence.FILE] = calibrated.model_dump()
        return self._save(final, self.to, np.arange(len(self.data)), lambda _: found)

    def _save(self, trained: Trained, to: Path, rows: np.ndarray, reports: Callable[[Bundle], dict[str, Any]]) -> Bundle:
        final = self.options.final_fit and to == self.to
        record = {
            "config": self.config.model_dump(mode="json"),
            "torch": torch.__version__,
            "classes": len(np.unique(self.labels[rows])),
            "images": len(rows),
            "splitting": self.data.splitting and self.data.splitting.model_dump(),
            "from": self.source,
            "final_fit": final,
            "saw_tests": final or bool(self.source and self.source["saw_tests"]),
            **trained.record,
        }
        page = watch.page(self.run.plan, self.run.history, "finished")
        history = "".join(json.dumps(line) + "\n" for line in trained.history)
        return save(
            trained.network,
            trained.network.architecture,
            Transform(size=self.config.image_size, fit=self.config.fit),
            to,
            name=self.to.name,
            training=record,
            origin=self.origin,
            sample=self.seen.pixels[rows[:: max(1, len(rows) // _SAMPLE)]],
            reports=lambda bundle: {"history.jsonl": history, "progress.html": page, **reports(bundle)},
        )

    def _reports(self, bundle: Bundle, trained: Trained) -> dict[str, Any]:
        """What the finished bundle is worth: its calibration, and its figures on the test classes beside its backbone's."""
        validation, test = self.rows["validation"], self.rows["test"]
        fillers = some_classes(self.rows["train"], self.labels, int((max(SIZES) - 1) * len(validation)))
        progress, looks = self.audience.progress, len(validation) + len(fillers) + 2 * len(test)
        task = progress.add_task("Measuring", total=looks)
        encoder, vectors = open_encoder(bundle), []
        for part in (validation, fillers):
            vectors.append(encoder.encode(self.seen.pixels[part]))
            progress.advance(task, len(part))
        found = calibrate(vectors[0], self.labels[validation], vectors[1], self.labels[fillers])
        measured = evaluate(
            bundle,
            self.seen.pixels[test],
            self.data.rows(test.tolist()).table,
            self.options.mask,
            calibration=found,
            advance=lambda n: progress.advance(task, n),
        )
        files = {"metrics.json": measured.figures} | ({} if found is None else {confidence.FILE: found.model_dump()})
        return files | report(
            Material(
                manifest=bundle.manifest,
                history=self.run.history,
                evaluation=measured,
                test=self._images(test),
                learnt=self._images(self.rows["train"]),
                centers=trained.centers,
                classes=self._examples(self.rows["train"]).classes,
                embed=encoder.encode,
                root=self.data.root,
                suspects=self._suspects(),
                comparison=self.comparison,
                final_fit=self.options.final_fit,
            )
        )

    def _suspects(self) -> list[tuple[int, str]] | None:
        if self.suspects is None:
            return None
        places = np.searchsorted(self.rows["train"], [each["row"] for each in self.suspects])
        return [(int(place), each["looks_like"]) for place, each in zip(places, self.suspects, strict=True)]

    def _images(self, rows: np.ndarray) -> Images:
        return Images(self.seen.pixels, rows, self.data.rows(rows.tolist()).table)


def _at_fixed_size(config: TrainingConfig) -> TrainingConfig:
    """Networks that take pictures of one size only, like most transformers, are trained at the size that they are used at."""
    if architecture(config).input_size is None:
        return config
    return config.model_copy(update={"train_size": config.image_size, "first_size": None})


def _comparison(folder: Path) -> dict[str, Any]:
    """What ``compare`` found there."""
    try:
        return json.loads((folder / "comparison.json").read_text())["stages"]
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise DataError(f"{folder} holds no finished comparison. Make one with `lookalike compare`.") from failure


def metrics(bundle: Bundle) -> dict[str, Any]:
    """What was measured when the bundle was made."""
    return json.loads((bundle.path / "metrics.json").read_text())


def _start(
    path: Path | None, config: TrainingConfig, data: Dataset
) -> tuple[TrainingConfig, EmbeddingNetwork | None, dict[str, Any] | None]:
    """The settings that follow from an earlier bundle, its network, with its head where it has one, and what it is called."""
    if path is None:
        return config, None, None
    bundle = bundles.load(path)
    known = bundle.manifest.architecture
    values: dict[str, Any] = {"backbone": known.backbone, "pooling": known.pooling}
    values |= {"dim": known.dim, "head_start": "random", "center_start": "data"} if known.head else {}
    values |= {"image_size": known.input_size, "train_size": known.input_size} if known.input_size else {}
    config = config.model_copy(update=values)
    torch.manual_seed(config.seed % 2**63)
    network = EmbeddingNetwork(architecture(config), pretrained=False)
    missing, unknown = network.load_state_dict(load_file(bundle.weights), strict=False)
    if unknown or any(not name.startswith("head.") for name in missing):
        raise DataError(f"{path} cannot be started from: its weights are not those of {known.backbone} as it is built today.")
    named = {"name": bundle.manifest.name, "fingerprint": bundle.fingerprint}
    return config, network, named | {"saw_tests": saw_tests(bundle.manifest, data)}
