"""Vectors of the tested images in, a map of them out: t-SNE of some, near each other where their vectors are.

Of the neighbourhoods only: distances between far groups mean nothing. Van der Maaten and Hinton, "Visualizing Data using
t-SNE", 2008, with the principal components as its start.
"""

from dataclasses import dataclass

import numpy as np

from ..calibrate import some_classes
from ..evaluate import Measurement
from .pictures import Embed, Images, Picture

MOST = 2000  # points: seconds
_FEWEST = 12
_COMPONENTS, _PERPLEXITY = 50, 30.0
_PICTURES, _APART = 60, 0.085  # how many at most, and how far apart, so that none lies on another


@dataclass(frozen=True)
class Map:
    """``places`` float64 [N, 2], the longer side from 0 to 1; ``right`` [N]: the first hit was right (1), wrong (0), or the
    image asked nothing (−1); ``pictures`` of some, by their row; ``classes``: how many there are."""

    places: np.ndarray
    right: np.ndarray
    pictures: dict[int, Picture]
    classes: int


def projected(measured: Measurement, images: Images, embed: Embed) -> Map | None:
    """Of at most MOST images, whole classes drawn at random. None of too few, or where all have the same vector."""
    chosen = some_classes(np.arange(len(images)), images.labels, MOST)[:MOST]
    if len(chosen) < _FEWEST:
        return None
    vectors = images.vectors(chosen, embed)
    if np.ptp(vectors, axis=0).max() < 1e-5:
        return None
    places = _fitted(_t_sne(vectors))
    found, right = measured.found, np.full(len(images), -1)
    asked = found.answerable & (found.rows[:, 0] >= 0)
    right[found.queries[asked]] = found.right[asked, 0]
    pictures = {row: images.picture(chosen[row]) for row in _spread(places)}
    return Map(places, right[chosen], pictures, len(np.unique(images.labels[chosen])))


def _t_sne(vectors: np.ndarray) -> np.ndarray:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if min(vectors.shape) > _COMPONENTS:
        vectors = PCA(_COMPONENTS, random_state=0).fit_transform(vectors)
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    return np.asarray(TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(vectors), np.float64)


def _fitted(places: np.ndarray) -> np.ndarray:
    """Turned, so that it is wide rather than high, and moved and scaled to begin at 0 and end at 1."""
    centred = places - places.mean(axis=0)
    turned = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    turned -= turned.min(axis=0)
    return np.asarray(turned / turned.max())


def _spread(places: np.ndarray) -> list[int]:
    """Rows in an order by chance, without those that are too near to one before."""
    chosen: list[int] = []
    for row in np.random.default_rng(0).permutation(len(places)).tolist():
        if len(chosen) < _PICTURES and (np.abs(places[chosen] - places[row]).max(axis=1) > _APART).all():
            chosen.append(row)
    return sorted(chosen)
