"""What a training left behind in, what is to be said about it out: plain data, of which the page and the card are made.

What there is nothing to say about is empty or None, and then nothing is said about it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from torch import Tensor

from model.bundle import Manifest

from ..calibrate import Reliability
from ..evaluate import Evaluation, Measurement, start_saw_tests
from ..watch import counted, duration, number
from . import answers, modes, origins, projection
from .answers import Answer, Confusion
from .modes import Portraits
from .origins import Licences, Setting
from .pictures import Embed, Images, Picture
from .projection import Map

Record = Mapping[str, Any]
FIGURES = {
    "recall@1": ("R@1", "the first hit is right"),
    "recall@2": ("R@2", "one of the first two is"),
    "recall@4": ("R@4", "one of the first four is"),
    "recall@8": ("R@8", "one of the first eight is"),
    "r_precision": ("R-precision", "share of right ones among as many first hits as there are right answers"),
    "map@r": ("MAP@R", "the same, and right ones that come early count more"),
    "mrr": ("MRR", "mean of 1 ÷ place of the first right hit"),
    "nmi": ("NMI", "agreement of clusters with classes"),
}
_WORST = 8  # classes
_SUSPECTS = 24


@dataclass(frozen=True)
class Material:
    """What a training left behind.

    ``test``: the images that ``evaluation`` measured, ``learnt``: those that were learnt from. ``centers`` [C, K, D] of the
    ``classes``, labels of ``learnt``; None where the loss has none. ``embed`` is the bundle's own encoder. ``root``: the data
    set's folder. ``suspects``: places in ``learnt`` of images whose label may be wrong, and the label that each looks like;
    None where nobody looked for them. ``comparison``: as ``compare.results`` returns it.
    ``final_fit``: the bundle is going to learn from all classes, and this is the one that was measured instead.
    """

    manifest: Manifest
    history: Sequence[Record]
    evaluation: Evaluation
    test: Images
    learnt: Images
    centers: Tensor | None
    classes: tuple[str, ...]
    embed: Embed
    root: Path
    suspects: Sequence[tuple[int, str]] | None = None
    comparison: Record | None = None
    final_fit: bool = False


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval over classes."""

    value: float
    interval: tuple[float, float] | None = None

    @property
    def beyond_chance(self) -> bool:
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass(frozen=True)
class Row:
    """A figure's ``name``, what it ``means``, and its values."""

    name: str
    means: str
    trained: Estimate
    backbone: Estimate | None
    gain: Estimate | None


@dataclass(frozen=True)
class Table:
    """``by``: the column whose equal values did not count; empty where all hits did."""

    rows: tuple[Row, ...]
    by: str = ""


@dataclass(frozen=True)
class Contender:
    """A loss in a comparison: means and deviations over seeds; ``less``: by how much SoftTriple's R@1 is better."""

    title: str
    first: tuple[float, float]
    map: tuple[float, float]
    less: Estimate | None
    seconds: float | None


@dataclass(frozen=True)
class Stage:
    name: str
    seeds: int
    classes: int
    losses: tuple[Contender, ...]


@dataclass(frozen=True)
class Facts:
    name: str
    made: date
    backbone: str
    dim: int
    size: int
    fingerprint: str
    summary: tuple[str, ...]  # sentences
    learnt: tuple[int, int]  # classes and images
    tested: tuple[int, int, int]  # classes, queries, queries without a right answer
    seconds: float | None
    tables: tuple[Table, ...]
    history: Sequence[Record]
    answers: Mapping[str, Sequence[Answer]]
    confusions: Sequence[Confusion]
    worst: Sequence[tuple[str, float, float, int]]  # classes: name, R@1, MAP@R, queries
    portraits: Portraits | None
    map: Map | None
    reliability: Reliability | None
    suspects: Sequence[tuple[Picture, str]]  # and what it looks like
    suspected: int | None  # how many there are; None where nobody looked
    stages: tuple[Stage, ...]
    settings: Sequence[Setting]
    versions: Mapping[str, str]
    origin: str  # of the weights
    data: str  # the folder's name
    licences: Licences
    final_fit: bool

    def pictures(self) -> Iterator[Picture]:
        """All that is to be shown."""
        for answer in (answer for several in self.answers.values() for answer in several):
            yield answer.query
            yield from (hit.picture for hit in answer.hits)
        yield from (picture for confusion in self.confusions for pair in confusion.examples for picture in pair)
        for portrait in self.portraits.shown if self.portraits else ():
            yield from (picture for centre in portrait.centres for picture in centre.nearest)
        yield from self.map.pictures.values() if self.map else ()
        yield from (picture for picture, _ in self.suspects)


def gather(material: Material) -> Facts:
    """Seconds: some 2,000 test images and 800 of the training classes are looked at once more."""
    manifest, measured, figures = material.manifest, material.evaluation.first, material.evaluation.figures
    training = manifest.training or {}
    tables = [_table(figures, figures.get("backbone"))]
    if "masked" in figures:
        tables.append(_table(figures["masked"], figures.get("backbone", {}).get("masked"), figures["masked"]["by"]))
    learnt = int(training.get("classes") or len(material.classes)), int(training.get("images") or len(material.learnt))
    tested = figures["classes"], figures["queries"], figures["distractors"]
    seconds = number(training.get("seconds")) or None  # the head alone takes too little to tell
    centers = material.centers
    return Facts(
        name=manifest.name,
        made=manifest.created.date(),
        backbone=manifest.architecture.backbone,
        dim=manifest.architecture.dim,
        size=manifest.transform.size,
        fingerprint=manifest.fingerprint,
        summary=tuple(_summary(material, learnt, tables[0].rows[0], seconds)),
        learnt=learnt,
        tested=tested,
        seconds=seconds,
        tables=tuple(tables),
        history=material.history,
        answers=answers.by_quality(measured, material.test),
        confusions=answers.confused(measured, material.test),
        worst=_worst(measured, material.test),
        portraits=None if centers is None else modes.portraits(centers, material.classes, material.learnt, material.embed),
        map=projection.projected(measured, material.test, material.embed),
        reliability=material.evaluation.reliability,
        suspects=_suspects(material.suspects or (), material.learnt),
        suspected=None if material.suspects is None else len(material.suspects),
        stages=tuple(_stages(material.comparison or {})),
        settings=origins.settings(training.get("config", {})),
        versions=origins.versions(),
        origin=manifest.origin,
        data=material.root.resolve().name,
        licences=origins.licences(material.root, material.learnt.columns),
        final_fit=material.final_fit,
    )


def _summary(material: Material, learnt: tuple[int, int], first: Row, seconds: float | None) -> Iterator[str]:
    figures, classes = material.evaluation.figures, set(material.classes)
    known = len(classes.intersection(material.test.columns["label"]))
    seen = "none of which it had learnt from" if not known else f"{known:,} of which it had learnt from"
    if start_saw_tests(material.manifest):
        seen += ", but the bundle that it started from may have, so these figures are too good"
    yield f"This network learnt from {counted(learnt[1], 'image')} of {counted(learnt[0], 'class', 'es')}."
    tested = f"{counted(figures['queries'], 'image')} of {counted(figures['classes'], 'class', 'es')}"
    yield f"It was then tested with {tested}, {seen}: each asked for its like among the others."
    times = _of_hundred(first.trained.value)
    worth = f"In {times} of 100 such searches the first hit was of the same class ({_said(first.trained)})"
    if first.backbone is None or first.gain is None:
        yield f"{worth}."
    else:
        yield f"{worth}, with the backbone as it is in {_of_hundred(first.backbone.value)} ({first.backbone.value:.3f})."
        yield _gain(first.gain)
    if seconds is not None:
        yield f"Training took {duration(seconds)}."
    if material.final_fit:
        yield "The bundle's network then learnt anew from all classes, these too; the figures are those of the one before."


def _gain(gain: Estimate) -> str:
    low, high = gain.interval or (gain.value, gain.value)
    said = f"{gain.value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    if not gain.beyond_chance:
        return f"Whether that is a gain cannot be told from so few classes ({said})."
    verb = "gained" if gain.value > 0 else "lost"
    return f"Training {verb} {abs(100 * gain.value):.0f} in 100 ({said}): more than chance explains."


def _of_hundred(share: float) -> str:
    """Not all, nor none, unless it is so."""
    return f"{round(100 * share) if share in (0, 1) else min(99, max(1, round(100 * share)))}"


def _said(estimate: Estimate) -> str:
    interval = f", 95 % interval {estimate.interval[0]:.3f} to {estimate.interval[1]:.3f}" if estimate.interval else ""
    return f"R@1 {estimate.value:.3f}{interval}"


def _table(figures: Record, backbone: Record | None, by: str = "") -> Table:
    rows = [
        Row(
            name,
            means,
            _estimate(figures, key),
            None if backbone is None else _estimate(backbone, key),
            Estimate(gain["mean"], tuple(gain["interval"])) if (gain := figures.get("gains", {}).get(key)) else None,
        )
        for key, (name, means) in FIGURES.items()
        if key in figures
    ]
    return Table(tuple(rows), by)


def _estimate(figures: Record, key: str) -> Estimate:
    interval = figures.get("intervals", {}).get(key)
    return Estimate(figures[key], tuple(interval) if interval else None)


def _worst(measured: Measurement, images: Images) -> list[tuple[str, float, float, int]]:
    by_class = sorted(measured.scores.by_class().items(), key=lambda each: (each[1]["map@r"], each[1]["recall@1"], each[0]))
    return [(images.names[label], each["recall@1"], each["map@r"], int(each["queries"])) for label, each in by_class[:_WORST]]


def _suspects(suspects: Sequence[tuple[int, str]], learnt: Images) -> list[tuple[Picture, str]]:
    return [(learnt.picture(place), learnt.names.get(label, label)) for place, label in suspects[:_SUSPECTS]]


def _stages(comparison: Record) -> Iterator[Stage]:
    for name, stage in comparison.items():
        losses = sorted(stage["losses"].values(), key=lambda loss: -loss["figures"]["recall@1"]["mean"])
        if losses:
            yield Stage(name, stage["seeds"], stage["classes"], tuple(map(_contender, losses)))


def _contender(loss: Record) -> Contender:
    first, ordered = (loss["figures"][name] for name in ("recall@1", "map@r"))
    less = loss.get("difference", {}).get("recall@1")
    return Contender(
        loss["title"],
        (first["mean"], first["deviation"]),
        (ordered["mean"], ordered["deviation"]),
        Estimate(less["mean"], tuple(less["interval"])) if less else None,
        loss["cost"].get("seconds"),
    )
