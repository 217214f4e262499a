"""Labelled vectors in, retrieval figures out: every query searches the gallery, itself left out.

Figures are a plain mapping: ``recall@1``, ``recall@2``, …, ``precision@1``, ``r_precision``, ``map@r``, ``mrr``, where asked
for ``nmi``; ``intervals``, 95 % over classes, by the same names; ``queries``, ``classes``, and ``distractors``: queries that
have no right answer and count only as wrong ones. With a mask column, the same again under ``masked``, where hits that share
the query's value of that column do not count (the same hand, the same photo session). A comparison adds ``backbone``, the
figures of the starting point on the same images, and ``gains``, the differences with their intervals; a calibrated bundle adds
``calibration`` (``calibrate.Reliability``).
"""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from model.bundle import Bundle, Manifest
from model.confidence import Calibration
from model.encoder import Encoder, open_encoder
from model.metrics import Scores, clustering_nmi, scores
from model.neighbours import KEPT, Labels, Neighbours, judged, nearest, right_answers

from .calibrate import Reliability, reliability
from .datasets import DataError
from .datasets.labels import Dataset

Advance = Callable[[int], None]
Columns = Mapping[str, Sequence[str]]
Search = Callable[[Path, int], list[tuple[str, float]]]
TRAINED, BACKBONE = "trained", "backbone as it is"
_CALLERS = 2  # at once, to a service that others use too


@dataclass(frozen=True)
class Measurement:
    """What was found, and the figures made of it; ``masked`` where a mask was given."""

    found: Neighbours
    scores: Scores
    figures: dict[str, Any]
    masked: "Measurement | None" = None


@dataclass(frozen=True)
class Evaluation:
    """Figures of a bundle, and what they are made of: measurements by name, and how far its confidences can be trusted."""

    figures: dict[str, Any]
    measured: dict[str, Measurement]
    reliability: Reliability | None = None

    @property
    def first(self) -> Measurement:
        """What it is all about; the others are for comparison."""
        return next(iter(self.measured.values()))


def saw_tests(bundle: Manifest, data: Dataset) -> bool:
    """Whether a bundle may have learnt from the test classes of ``data``, if it learnt from ``data`` at all: in a final fit,
    by another splitting, or from a bundle that had. Figures on them are then too good."""
    if (learnt := bundle.training) is None:
        return False
    return learnt.get("saw_tests", False) or learnt.get("splitting") != (data.splitting and data.splitting.model_dump())


def start_saw_tests(bundle: Manifest) -> bool:
    """The same of the bundle that ``bundle`` started from. Where a final fit followed, the figures are those of the training
    before it, which only such a start can have spoilt."""
    return bool(((bundle.training or {}).get("from") or {}).get("saw_tests"))


def check(columns: Columns, mask: str | None = None, source: object = "The data") -> None:
    """Raises ``DataError`` when there is nothing to measure: to be told before a training, not after it.

    ``columns``: ``label``, and where there are some ``role`` (query, gallery, or empty for both) and the mask's.
    """
    if mask is not None and mask not in columns:
        raise DataError(f"{source} has no column {mask!r}; it has: {', '.join(columns)}.")
    queries, gallery = _roles(columns)
    for masks in (None, mask and columns[mask]):
        if not right_answers(columns["label"], queries=queries, gallery=gallery, masks=masks).any():
            other = "" if masks is None else f" with another {mask}"
            raise DataError(f"{source}: no image to be measured has a second one of its class{other}. Add some.")


def group_mask(columns: Columns) -> str | None:
    """``group`` where there is such a column, and right answers remain when hits of the query's own group are left out."""
    queries, gallery = _roles(columns)
    if "group" not in columns:
        return None
    remain = right_answers(columns["label"], queries=queries, gallery=gallery, masks=columns["group"])
    return "group" if remain.any() else None


def measure(
    vectors: np.ndarray, columns: Columns, mask: str | None = None, *, nmi: bool = False, source: object = "The data"
) -> Measurement:
    """Figures of unit ``vectors`` float32 [N, D], whose rows are those of ``columns``. Raises ``DataError``."""
    check(columns, mask, source)
    plain = _measured(vectors, columns, None)
    if nmi:
        plain.figures["nmi"] = clustering_nmi(vectors, columns["label"])
    if mask is None:
        return plain
    return _with_mask(plain, mask, _measured(vectors, columns, columns[mask]))


def evaluate(
    bundle: Bundle,
    pixels: np.ndarray,
    columns: Columns,
    mask: str | None = None,
    *,
    nmi: bool = False,
    beside_backbone: bool = True,
    calibration: Calibration | None = None,
    advance: Advance = lambda _: None,
) -> Evaluation:
    """Measure ``bundle`` on images whose ``pixels`` uint8 [N, size, size, 3] are those of the rows of ``columns``.

    ``beside_backbone``: measure its starting point too, which needs torch; ``advance`` then hears of every image twice.
    Raises ``DataError``.
    """

    def vectors_of(encoder: Encoder) -> np.ndarray:
        vectors = encoder.encode(pixels)
        advance(len(pixels))
        return vectors

    vectors = vectors_of(open_encoder(bundle))
    trained = measure(vectors, columns, mask, nmi=nmi)
    figures, measured = trained.figures, {TRAINED: trained}
    if beside_backbone:
        untrained = measure(vectors_of(_backbone(bundle)), columns, mask, nmi=nmi)
        measured |= {BACKBONE: untrained}
        figures |= {"backbone": untrained.figures, "gains": trained.scores.gains(untrained.scores)}
        if trained.masked and untrained.masked:
            figures["masked"] |= {"gains": trained.masked.scores.gains(untrained.masked.scores)}
    if calibration is None:
        return Evaluation(figures, measured)
    trust = reliability(calibration, vectors, np.array(columns["label"]))
    return Evaluation(figures | {"calibration": trust.figures()}, measured, trust)


def _backbone(bundle: Bundle) -> Encoder:
    """The starting point of ``bundle``: its backbone as it is, on the same input."""
    from .export import untrained  # needs torch

    manifest = bundle.manifest
    known = manifest.architecture
    weights = (manifest.training or {}).get("config", {}).get("weights", "")
    with TemporaryDirectory() as folder:
        to = Path(folder) / "backbone"
        made = untrained(to, manifest.transform, known.backbone, weights=weights, pooling=known.pooling, onnx=False)
        return open_encoder(made)


def measure_search(
    search: Search,
    holds: Callable[[str], bool],
    data: Dataset,
    mask: str | None,
    deepest: int,
    advance: Advance = lambda _: None,
) -> Measurement:
    """Measure a search that others serve: its answers to the test images of ``data``, out of all it has of ``data``.

    ``search``: a picture's file and how many hits → their ids and scores, best first; ``holds``: is the id there? Ids are the
    paths in ``data`` in their shortest form; hits that ``data`` does not list are wrong ones. No query gets more than
    ``deepest`` hits, and what lies deeper counts as not found. Raises ``DataError``.
    """
    if any(data.boxes):
        raise DataError(f"{data.root}: a service searches whole pictures; data with boxes cannot be measured through it.")
    labels, paths, ids = np.array(data.labels), data.table["path"], _ids(data)
    roles, splits = np.array(data.roles, dtype=object), np.array(data.table["split"], dtype=object)
    queries = np.flatnonzero((splits == "test") & (roles != "gallery"))
    asked = set(labels[queries])
    masks = None if mask is None else np.array(data.column(mask))
    with ThreadPoolExecutor(_CALLERS) as pool:
        there = list(pool.map(lambda row: labels[row] in asked and holds(ids[row]), range(len(data))))
        gallery = np.flatnonzero(there)
        possible = right_answers(labels, queries=queries, gallery=gallery)
        unmasked = None if masks is None else right_answers(labels, queries=queries, gallery=gallery, masks=masks)
        for count, other in ((possible, ""), (unmasked, f" with another {mask}")):
            if count is not None and not count.any():
                raise DataError(
                    f"The service has no right answer{other} to any test image of {data.root}. Index this folder there first."
                )
        depth = deepest if mask else min(deepest, max(KEPT, int(possible.max())) + 1)

        def ask(row: int) -> list[tuple[str, float]]:
            answer = search(data.root / paths[row], depth)
            advance(1)
            return answer

        answers = list(pool.map(ask, queries))
    found = _answers(answers, data, queries, possible, None)
    plain = Measurement(found, *_figures(found, labels))
    if mask is None or unmasked is None:
        return plain
    masked = _answers(answers, data, queries, unmasked, masks)
    return _with_mask(plain, mask, Measurement(masked, *_figures(masked, labels)))


def _answers(
    answers: Sequence[list[tuple[str, float]]],
    data: Dataset,
    queries: np.ndarray,
    possible: np.ndarray,
    masks: np.ndarray | None,
) -> Neighbours:
    """The hits of others as ``nearest`` would tell them: the query itself and what its mask hides taken out."""
    row_of = {id: row for row, id in enumerate(_ids(data))}
    depth = max(KEPT, *map(len, answers))
    rows, scored = np.full((len(queries), depth), -1), np.full((len(queries), depth), -np.inf, np.float32)
    right = np.zeros((len(queries), depth), bool)
    for place, (query, answer) in enumerate(zip(queries, answers, strict=True)):
        hits = [(row_of.get(id, -1), score) for id, score in answer]
        hits = [hit for hit in hits if hit[0] != query and (masks is None or hit[0] < 0 or masks[hit[0]] != masks[query])]
        for rank, (row, score) in enumerate(hits):
            rows[place, rank], scored[place, rank] = row, score
            right[place, rank] = row >= 0 and data.labels[row] == data.labels[query]
    return Neighbours(queries, rows[:, :KEPT], scored[:, :KEPT], right[:, :KEPT], possible, *judged(scored, right, possible))


def _ids(data: Dataset) -> list[str]:
    return [posixpath.normpath(path) for path in data.table["path"]]


def _with_mask(plain: Measurement, mask: str, masked: Measurement) -> Measurement:
    figures = plain.figures | {"masked": {"by": mask, **masked.figures}}
    return Measurement(plain.found, plain.scores, figures, masked)


def _measured(vectors: np.ndarray, columns: Columns, masks: Sequence[str] | None) -> Measurement:
    queries, gallery = _roles(columns)
    found = nearest(vectors, columns["label"], queries=queries, gallery=gallery, masks=masks)
    return Measurement(found, *_figures(found, columns["label"]))


def _figures(found: Neighbours, labels: Labels) -> tuple[Scores, dict[str, Any]]:
    measured = scores(found, labels)
    counts = {
        "queries": len(measured.values),
        "classes": len(np.unique(measured.classes)),
        "distractors": int((~found.answerable).sum()),
    }
    return measured, measured.means() | {"intervals": measured.intervals()} | counts


def _roles(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """The rows that ask and the rows that are searched."""
    roles = np.array(columns.get("role", [""] * len(columns["label"])), dtype=object)
    return np.flatnonzero(roles != "gallery"), np.flatnonzero(roles != "query")
