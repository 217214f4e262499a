"""A measurement in, what tells most about it out: queries with their first hits, and classes that are taken for each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from model.neighbours import numbered

from ..evaluate import Measurement
from .pictures import Images, Picture

HITS = 8  # of a query that are shown
_EACH = 3  # queries of a kind
_PAIRS, _EXAMPLES = 8, 3


@dataclass(frozen=True)
class Hit:
    picture: Picture
    right: bool
    score: float


@dataclass(frozen=True)
class Answer:
    """``possible``: right answers that there are; ``first_right``: the place of the first one among all hits."""

    query: Picture
    hits: tuple[Hit, ...]
    average_precision: float
    possible: int
    first_right: int


@dataclass(frozen=True)
class Confusion:
    """Two classes: ``count`` of their ``queries`` had a first hit of the other one; ``examples`` are such queries and hits."""

    one: str
    other: str
    count: int
    queries: int
    examples: tuple[tuple[Picture, Picture], ...]


def by_quality(measured: Measurement, images: Images) -> dict[str, list[Answer]]:
    """``best``, ``median`` and ``worst`` queries by average precision, those with most to be found first, of a kind no two of
    the same class, and none twice."""
    found = measured.found
    places = np.flatnonzero(found.answerable)
    precision, fewest = found.average_precision[places], -found.possible[places]
    keys = {"best": -precision, "worst": precision, "median": np.abs(precision - np.median(precision))}
    used: set[int] = set()
    chosen: dict[str, list[Answer]] = {}
    for kind, key in keys.items():
        order = places[np.lexsort((fewest, key))].tolist()
        queries = list(islice(_of_other_classes([query for query in order if query not in used], measured, images), _EACH))
        used |= set(queries)
        chosen[kind] = [_answer(measured, images, query) for query in queries]
    return {kind: chosen[kind] for kind in ("best", "median", "worst") if chosen[kind]}


def _of_other_classes(queries: list[int], measured: Measurement, images: Images) -> Iterator[int]:
    """The queries in their order, without those whose class came before."""
    seen: set[str] = set()
    for query in queries:
        label = images.labels[measured.found.queries[query]]
        if label not in seen:
            seen.add(label)
            yield query


def _answer(measured: Measurement, images: Images, query: int) -> Answer:
    found = measured.found
    hits = zip(found.rows[query, :HITS], found.right[query, :HITS], found.scores[query, :HITS], strict=True)
    shown = tuple(Hit(images.picture(row), bool(right), float(score)) for row, right, score in hits if row >= 0)
    place = int(found.first[query, 0]) + 1
    precision, possible = float(found.average_precision[query]), int(found.possible[query])
    return Answer(images.picture(found.queries[query]), shown, precision, possible, place)


def confused(measured: Measurement, images: Images) -> list[Confusion]:
    """The pairs of classes with most wrong first hits, either way; examples are the mistakes with the highest scores."""
    found, classes = measured.found, numbered(images.labels)
    answered = np.flatnonzero(found.answerable & (found.rows[:, 0] >= 0))
    asked = np.bincount(classes[found.queries[answered]], minlength=classes.max() + 1)
    wrong = answered[~found.right[answered, 0]]
    if not len(wrong):
        return []
    wrong = wrong[np.argsort(-found.scores[wrong, 0], kind="stable")]
    both = np.sort(np.stack([classes[found.queries[wrong]], classes[found.rows[wrong, 0]]], axis=1), axis=1)
    pairs, first, inverse, counts = np.unique(both, axis=0, return_index=True, return_inverse=True, return_counts=True)
    shown = []
    for pair in np.lexsort((first, -counts))[:_PAIRS]:
        mistakes = wrong[inverse.reshape(-1) == pair][:_EXAMPLES]
        examples = tuple((images.picture(found.queries[row]), images.picture(found.rows[row, 0])) for row in mistakes)
        one, other = (images.names[str(images.labels[np.argmax(classes == number)])] for number in pairs[pair])
        shown.append(Confusion(one, other, int(counts[pair]), int(asked[pairs[pair]].sum()), examples))
    return shown
