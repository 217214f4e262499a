"""Vectors of classes that were not learnt from in, what a score is worth out (``model.confidence``).

Every validation image asks twice: once with its class in the gallery, once without, so half of the questions have no answer.
Galleries of several sizes are sampled by whole classes; the largest are filled up with training images, which can only be
wrong answers. The first hits of all of them give one monotone curve, and how the odds fall with the size of the gallery.
"""

from dataclasses import dataclass

import numpy as np

from model.confidence import Calibration, log_share
from model.neighbours import nearest

HITS = 10  # of a question
MIN_CLASSES = 20  # with two images at least: of fewer, chance alone would make a curve
SIZES = (0.25, 1.0, 4.0)  # of the galleries, times the validation images
EXPONENTS = np.linspace(0.5, 1.1, 13)
_QUESTIONS = 2000  # of a gallery
_SAMPLES = 4  # galleries of a size
_LARGEST = 50_000
_BINS = 100
_KNOTS = 64


@dataclass(frozen=True)
class Hits:
    """First hits of many questions: ``scores``, ``right``, ``log_shares`` of right answers in the gallery, and ``weights``."""

    scores: np.ndarray
    right: np.ndarray
    log_shares: np.ndarray
    weights: np.ndarray


def calibrate(
    vectors: np.ndarray, labels: np.ndarray, others: np.ndarray, other_labels: np.ndarray, seed: int = 0
) -> Calibration | None:
    """From unit ``vectors`` [N, D] of the validation classes and ``others`` of the training classes.

    None where there are fewer than MIN_CLASSES validation classes of two images or more.
    """
    counts = np.unique(labels, return_inverse=True, return_counts=True)
    matches = counts[2][counts[1]] - 1
    if (counts[2] > 1).sum() < MIN_CLASSES:
        return None
    usual = float(np.median(matches[matches > 0]))
    hits = _ask(vectors, labels, others, other_labels, usual, np.random.default_rng(seed))
    fits = [(_fit(hits, exponent), exponent) for exponent in EXPONENTS]
    losses = [_loss(hits, *curve, exponent) for curve, exponent in fits]
    (scores, ratios), exponent = fits[int(np.argmin(losses))]
    scores, ratios = _anchored(hits, scores, ratios, pairs=len(vectors) ** 2)
    about = {"classes": len(counts[0]), "images": len(vectors), "hits": len(hits.scores), "log_loss": float(min(losses))}
    return Calibration(
        scores=scores.tolist(), ratios=ratios.tolist(), matches=usual, exponent=round(float(exponent), 3), fitted_on=about
    )


def _ask(
    vectors: np.ndarray,
    labels: np.ndarray,
    others: np.ndarray,
    other_labels: np.ndarray,
    usual: float,
    random: np.random.Generator,
) -> Hits:
    space, names = np.concatenate([vectors, others]), np.concatenate([labels, other_labels])
    own, foreign = np.arange(len(vectors)), len(vectors) + np.arange(len(others))
    parts = []
    for share in SIZES:
        size = min(round(share * len(own)), len(space), _LARGEST)
        for _ in range(1 if size == len(space) else _SAMPLES):
            gallery = some_classes(own, names, size, random)
            if len(gallery) < size:
                gallery = np.concatenate([gallery, some_classes(foreign, names, size - len(gallery), random)])
            asking = random.permutation(gallery[gallery < len(own)])[:_QUESTIONS]
            parts += [_first_hits(space, names, asking, gallery, usual, hide) for hide in (False, True)]
    return Hits(*(np.concatenate([getattr(part, name) for part in parts]) for name in Hits.__annotations__))


def some_classes(rows: np.ndarray, names: np.ndarray, size: int, random: np.random.Generator | None = None) -> np.ndarray:
    """At least ``size`` of the ``rows``, or all: those of classes drawn at random. ``names`` are the labels of all rows."""
    random = random or np.random.default_rng(0)
    labels, inverse, counts = np.unique(names[rows], return_inverse=True, return_counts=True)
    order = random.permutation(len(labels))
    taken = order[: int(np.searchsorted(np.cumsum(counts[order]), size)) + 1]
    return rows[np.isin(inverse, taken)]


def _first_hits(
    space: np.ndarray, names: np.ndarray, asking: np.ndarray, gallery: np.ndarray, usual: float, hide: bool
) -> Hits:
    """With ``hide``, every question's own class is taken out of the gallery."""
    found = nearest(space, names, queries=asking, gallery=gallery, masks=names if hide else None, kept=HITS)
    there = found.rows >= 0
    scores, count = found.scores[there], int(there.sum())
    return Hits(scores, found.right[there], np.full(count, log_share(usual, len(gallery))), np.full(count, 1 / max(1, count)))


@dataclass(frozen=True)
class Reliability:
    """Confidence in the first hits of questions, half of which have no answer, and whether they were right: [H] each."""

    confidence: np.ndarray
    right: np.ndarray

    def bins(self) -> list[tuple[float, float, int]]:
        """15 bins of equal mass: mean confidence, share of right hits, number of hits. Equal confidences have no order."""
        _, inverse, counts = np.unique(self.confidence, return_inverse=True, return_counts=True)
        right = (np.bincount(inverse, self.right) / counts)[inverse]
        parts = np.array_split(np.argsort(self.confidence, kind="stable"), 15)
        return [(float(self.confidence[part].mean()), float(right[part].mean()), len(part)) for part in parts if len(part)]

    def figures(self) -> dict[str, float]:
        """``ece``: expected calibration error, the mean distance between the two over the bins; ``brier``: mean squared error
        of the confidences, and of the best constant."""
        distances = [abs(said - was) * count for said, was, count in self.bins()]
        base = float(self.right.mean())
        brier = float(((self.confidence - self.right) ** 2).mean())
        return {
            "ece": sum(distances) / len(self.right),
            "brier": brier,
            "brier_of_constant": base * (1 - base),
            "hits": len(self.right),
        }


def reliability(
    calibration: Calibration,
    vectors: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray | None = None,
    unrelated: np.ndarray | None = None,
) -> Reliability:
    """Ask with every row of the ``gallery`` (by default all) of unit ``vectors`` [N, D], and as often without an answer.

    Questions without one are the same rows with their classes taken out, and ``unrelated`` [U, D], vectors of what is in no
    gallery, in the place of as many of them.
    """
    gallery = np.arange(len(vectors)) if gallery is None else gallery
    answered = nearest(vectors, labels, queries=gallery, gallery=gallery, kept=HITS)
    unrelated = np.empty((0, vectors.shape[1]), np.float32) if unrelated is None else unrelated[: len(gallery)]
    space = np.concatenate([vectors, unrelated])
    names = np.concatenate([labels, [f"unrelated {row}" for row in range(len(unrelated))]])
    asking = np.concatenate([gallery[len(unrelated) :], len(vectors) + np.arange(len(unrelated))])
    unanswered = nearest(space, names, queries=asking, gallery=gallery, masks=names, kept=HITS)
    scores = np.concatenate([found.scores[found.rows >= 0] for found in (answered, unanswered)])
    right = np.concatenate([found.right[found.rows >= 0] for found in (answered, unanswered)])
    return Reliability(calibration.confidence(scores, len(gallery)), right)


def _fit(hits: Hits, exponent: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores and the ratios at them: maximum likelihood in bins of equal mass, made monotone (isotonic regression)."""
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(hits.scores, kind="stable")
    bins = [part for part in np.array_split(order, _BINS) if len(part)]
    scores = np.array([hits.scores[part].mean() for part in bins], np.float64)
    ratios = np.array([_ratio(hits, part, exponent) for part in bins])
    weights = np.array([hits.weights[part].sum() for part in bins])
    return scores, IsotonicRegression().fit(scores, ratios, sample_weight=weights).predict(scores)


def _ratio(hits: Hits, part: np.ndarray, exponent: float) -> float:
    """The ratio that makes the expected right hits of a bin as many as were found; half a hit is added to both sides."""
    weights = hits.weights[part] / hits.weights[part].sum()
    found = float(weights @ hits.right[part])
    found = (found * len(part) + 0.5) / (len(part) + 1)
    low, high = -30.0, 30.0
    for _ in range(50):
        middle = (low + high) / 2
        expected = float(weights @ _sigmoid(middle + exponent * hits.log_shares[part]))
        low, high = (middle, high) if expected < found else (low, middle)
    return middle


def _loss(hits: Hits, scores: np.ndarray, ratios: np.ndarray, exponent: float) -> float:
    """Mean negative log-likelihood."""
    chance = np.clip(_sigmoid(np.interp(hits.scores, scores, ratios) + exponent * hits.log_shares), 1e-9, 1 - 1e-9)
    return float(-(hits.weights * np.log(np.where(hits.right, chance, 1 - chance))).sum() / hits.weights.sum())


def _anchored(hits: Hits, scores: np.ndarray, ratios: np.ndarray, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Up to the best score of a wrong hit the curve stays level; at 1, the same picture, none of ``pairs`` pairs was wrong."""
    knots = np.unique(np.linspace(0, len(scores) - 1, _KNOTS).round().astype(int))
    scores, ratios = scores[knots], ratios[knots]
    level = max(float(hits.scores[~hits.right].max(initial=0)), float(scores[-1]))
    if level < 1:
        scores, ratios = np.append(scores, (level, 1.0)), np.append(ratios, (ratios[-1], max(ratios[-1], np.log(pairs))))
    return scores, ratios


def _sigmoid(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))
