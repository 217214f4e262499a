"""Labelled images in, SoftTriple against other losses out: trials → frozen settings → runs, each kept as soon as it is done.

Every loss has the same number of trials, its published parameters first, judged by MAP@R on the validation classes. Then
settings are frozen in ``settings.json``, and for each seed every loss learns from train and validation classes and is measured
once on the test classes. A seed gives all losses the same start and order. What is there already is not done again.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.progress import Progress

from model import Failure
from model.transform import Transform

from ..checkpoint import whole
from ..config import TrainingConfig
from ..datasets.check import decode
from ..datasets.labels import Dataset
from ..datasets.memory import available_memory, fits
from ..datasets.pixels import digest
from ..evaluate import Measurement, check, measure
from ..plan import Costs
from ..processes import alone
from .baselines import CONTENDERS, SOFT_TRIPLE_NAME
from .stages import LEARNT, Choice, Heads, Learnt, Material, Networks

VIEWS, HEAD_EPOCHS = 4, 20  # of heads alone
IN_FULL = (SOFT_TRIPLE_NAME, "softmax", "triplet")  # and the best other one
_RATES: dict[str, tuple[Any, ...]] = {"head_learning_rate": (1e-3, 3e-3, 1e-2)}
_PROXIES: dict[str, tuple[Any, ...]] = {
    "center_start": ("data", "random"),
    "center_learning_rate": (1e-3, 3e-3, 1e-2, 3e-2),
    "center_epsilon": (1e-8, 1e-2),
}
_NETWORK_RATES = (1.0, 0.5, 2.0)  # times the preset's learning rate
_CHOSEN_BY = "map@r"


class CompareError(Failure):
    """The comparison cannot be begun or gone on with as asked; the message says what to do."""


@dataclass(frozen=True)
class Asked:
    """``trials`` and ``seeds`` of each loss as a head; in full, ``full_seeds`` of runs of about ``minutes``; 0: none."""

    losses: tuple[str, ...] = tuple(CONTENDERS)
    trials: int = 12
    seeds: int = 10
    full_seeds: int = 5
    minutes: float = 5.0
    mask: str | None = None


class Stage(Protocol):
    name: str

    def learn(self, choice: Choice, seed: int, learnt: tuple[str, ...], judged: str) -> Learnt: ...


class Folder:
    """Where a comparison is kept: ``asked.json``, ``trials.jsonl``, ``settings.json``, ``runs.jsonl`` and ``runs/``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, asked: Mapping[str, Any]) -> None:
        """A new comparison, or the one that is there. Raises ``CompareError`` where that is another one."""
        file = self.path / "asked.json"
        if not file.exists():
            if self.path.exists() and any(self.path.iterdir()):
                raise CompareError(f"{self.path} exists and holds no comparison. Choose another folder.")
            (self.path / "runs").mkdir(parents=True)
            self.write("asked.json", asked)
            return
        known = json.loads(file.read_text())
        for name, value in json.loads(json.dumps(asked)).items():
            if known.get(name) != value:
                raise CompareError(
                    f"{self.path} holds a comparison with other settings: {name} was {known.get(name)!r}, now {value!r}. "
                    "Ask as before to go on with it, or choose another folder."
                )

    def write(self, name: str, value: Any) -> None:
        with whole(self.path / name) as file:
            file.write((json.dumps(value, indent=2) + "\n").encode())

    def read(self, name: str) -> Any:
        """None where it is not there."""
        file = self.path / name
        return json.loads(file.read_text()) if file.exists() else None

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Without a last line that a crash cut short."""
        file = self.path / name
        if not file.exists():
            return []
        *whole_lines, _ = file.read_text().split("\n")
        return [json.loads(line) for line in whole_lines]

    def add(self, name: str, record: Mapping[str, Any]) -> None:
        """A line, on the disk when this returns."""
        file = self.path / name
        text = file.read_text() if file.exists() else ""
        with whole(file) as draft:  # of a few hundred lines
            draft.write((text[: text.rfind("\n") + 1] + json.dumps(record) + "\n").encode())


def compare(data: Dataset, to: Path, config: TrainingConfig, asked: Asked, progress: Progress | None = None) -> Folder:
    """Do what is left to do in the folder ``to``; ``results`` says what it means.

    Raises a ``Failure``; what was done is kept, and the same call goes on.
    """
    return _Comparison(data, to, config, asked, progress or Progress(disable=True)).done()


class _Comparison:
    def __init__(self, data: Dataset, to: Path, config: TrainingConfig, asked: Asked, progress: Progress) -> None:
        _refuse(asked, data)
        self.data, self.config, self.asked, self.progress = data, config, asked, progress
        self.folder = Folder(to)

    def done(self) -> Folder:
        self.material = self._read()
        config = self.config.model_copy(update={"views": VIEWS, "head_epochs": HEAD_EPOCHS})
        heads = Heads(self.material, config, self.folder.path)
        frozen = self._frozen(heads, {loss: trials(loss, self.asked.trials) for loss in self.asked.losses})
        self._run(heads, frozen, self.asked.seeds)
        if self.asked.full_seeds:
            self._in_full(frozen)
        return self.folder

    def _in_full(self, of_heads: Mapping[str, Choice]) -> None:
        """As long as fits into the minutes, for all losses alike; trials of learning rates are half as long."""
        epochs = self._decided("epochs", self._epochs)
        config = self.config.model_copy(update={"epochs": epochs})
        short = config.model_copy(update={"epochs": max(1, epochs // 2)})
        chosen = {loss: of_heads[loss] for loss in (*IN_FULL, *self._best_other()) if loss in of_heads}
        candidates = {
            loss: [choice.with_rate(rate * config.learning_rate) for rate in _NETWORK_RATES] for loss, choice in chosen.items()
        }
        frozen = self._frozen(Networks(self.material, short), candidates)
        self._run(Networks(self.material, config), frozen, self.asked.full_seeds)

    def _read(self) -> Material:
        """All pictures, decoded once; where they go beyond the memory, into a file."""
        transform = Transform(size=self.config.image_size, fit=self.config.fit)
        asked = {"data": str(self.data.root), "config": self.config.model_dump(mode="json"), **asdict(self.asked)}
        self.folder.begin(asked)
        store = self.folder.path / "pixels.npy"
        in_file = not fits(len(self.data), transform.size, available_memory() // 2)
        task = self.progress.add_task("Reading pictures", total=len(self.data))
        pictures, _ = decode(self.data, transform, lambda n: self.progress.advance(task, n), store if in_file else None)
        found = digest(self.data, pictures)
        if self._decided("pictures", lambda: found) != found:
            raise CompareError(f"The pictures of {self.data.root} have changed since {self.folder.path} was begun. Begin anew.")
        return Material(self.data, pictures.pixels)

    def _decided(self, name: str, decide: Callable[[], Any]) -> Any:
        known = self.folder.read("decisions.json") or {}
        if name not in known:
            known |= {name: decide()}
            self.folder.write("decisions.json", known)
        return known[name]

    def _epochs(self) -> int:
        examples = self.material.examples(self.material.rows(*LEARNT))
        return Costs(examples, self.config, 0, alone(), exact=True).epochs_in(60 * self.asked.minutes, None)

    def _best_other(self) -> list[str]:
        """That of the other losses whose head was the best on the validation classes."""
        found = {each["loss"]: each["figures"][_CHOSEN_BY] for each in self._best_trials(Heads.name)}
        others = [loss for loss in found if loss not in IN_FULL]
        return [max(others, key=found.__getitem__)] if others else []

    # Trials

    def _frozen(self, stage: Stage, candidates: Mapping[str, list[Choice]]) -> dict[str, Choice]:
        """The best of its candidates for every loss, written down before a test class is looked at."""
        settings = self.folder.read("settings.json") or {}
        if stage.name not in settings:
            self._try(stage, candidates)
            best = {each["loss"]: each for each in self._best_trials(stage.name)}
            settings[stage.name] = {loss: {"trial": best[loss]["number"], **best[loss]["choice"]} for loss in candidates}
            self.folder.write("settings.json", settings)
        return {loss: Choice(loss, found["parameters"], found["settings"]) for loss, found in settings[stage.name].items()}

    def _try(self, stage: Stage, candidates: Mapping[str, list[Choice]]) -> None:
        known = {(each["stage"], each["loss"], each["number"]) for each in self.folder.lines("trials.jsonl")}
        task = self.progress.add_task(f"Trials: {stage.name}", total=sum(map(len, candidates.values())))
        for loss, choices in candidates.items():
            for number, choice in enumerate(choices):
                if (stage.name, loss, number) not in known:
                    learnt = stage.learn(choice, self.config.seed, ("train",), "validation")
                    figures = self._measured(learnt, "validation").figures
                    record = {"stage": stage.name, "loss": loss, "number": number, "choice": asdict(choice)}
                    kept = {name: round(figures[name], 6) for name in (_CHOSEN_BY, "recall@1")}
                    self.folder.add("trials.jsonl", record | {"figures": kept, "cost": learnt.cost})
                self.progress.advance(task)

    def _best_trials(self, stage: str) -> list[dict[str, Any]]:
        """Of every loss; of equal ones the first, so the published parameters where nothing was better."""
        best: dict[str, dict[str, Any]] = {}
        for each in self.folder.lines("trials.jsonl"):
            before = best.get(each["loss"])
            if each["stage"] == stage and (before is None or each["figures"][_CHOSEN_BY] > before["figures"][_CHOSEN_BY]):
                best[each["loss"]] = each
        return list(best.values())

    # Runs

    def _run(self, stage: Stage, frozen: Mapping[str, Choice], seeds: int) -> None:
        """Losses take turns, so that a slow hour of the machine falls on all."""
        known = {(each["stage"], each["loss"], each["seed"]) for each in self.folder.lines("runs.jsonl")}
        task = self.progress.add_task(f"Runs: {stage.name}", total=seeds * len(frozen))
        for seed in range(self.config.seed, self.config.seed + seeds):
            for loss, choice in frozen.items():
                if (stage.name, loss, seed) not in known:
                    learnt = stage.learn(choice, seed, LEARNT, "test")
                    measured = self._measured(learnt, "test")
                    name = f"runs/{stage.name}-{loss}-{seed}.npz"
                    with whole(self.folder.path / name) as file:
                        np.savez(file, **_tested(measured))
                    record = {"stage": stage.name, "loss": loss, "seed": seed, "choice": asdict(choice), "tested": name}
                    self.folder.add("runs.jsonl", record | {"cost": learnt.cost})
                self.progress.advance(task)

    def _measured(self, learnt: Learnt, split: str) -> Measurement:
        columns = self.data.rows(self.material.rows(split).tolist()).table
        return measure(learnt.vectors, columns, self.asked.mask if split == "test" else None)


def trials(loss: str, count: int) -> list[Choice]:
    """The published parameters with the preset's rates, then others at random, no two alike; always the same ones."""
    contender = CONTENDERS[loss]
    rates = _RATES | (_PROXIES if contender.has_proxies else {})
    found = [Choice(loss, contender.published)]
    random = np.random.default_rng(list(loss.encode()))
    while len(found) < min(count, contender.combinations * math.prod(map(len, rates.values()))):
        choice = Choice(loss, _drawn(random, contender.tried), _drawn(random, rates))
        if choice not in found:
            found.append(choice)
    return found


def _drawn(random: np.random.Generator, tried: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    return {name: values[random.integers(len(values))] for name, values in tried.items()}


def _tested(measured: Measurement) -> dict[str, Any]:
    """Sums and counts of classes, also of the masked figures where there are some."""
    found: dict[str, Any] = {}
    for name, each in {"plain": measured, "masked": measured.masked}.items():
        if each is not None:
            _, found[f"{name}_sums"], found[f"{name}_counts"] = each.scores.sums()
    return found


def _refuse(asked: Asked, data: Dataset) -> None:
    """Whatever is wrong is told before anything is computed."""
    if unknown := [loss for loss in asked.losses if loss not in CONTENDERS]:
        raise CompareError(f"There is no loss {unknown[0]!r}. There are: {', '.join(CONTENDERS)}.")
    if SOFT_TRIPLE_NAME not in asked.losses or len(asked.losses) < 2:
        raise CompareError(f"A comparison needs {SOFT_TRIPLE_NAME} and at least one other loss.")
    for split in ("train", "validation", "test"):
        part = data.split(split)
        if split != "train":
            check(part.table, asked.mask if split == "test" else None, f"{data.root}, split {split}")
