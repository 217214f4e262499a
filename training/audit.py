"""Labelled images in, those whose labels look wrong out: how likely each label is wrong, and what its image looks like instead.

Images are judged by what was learnt without them. They are dealt into folds within their classes; a head and a centre a class
learn on the frozen backbone's features of the other folds, and the images of the held-out fold are compared with the centres.
A second round deals anew and learns without the suspects of the first, so that they no longer pull their class's centre.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021, judge out of fold too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network import EmbeddingNetwork
from model.transform import Transform

from . import cpu
from .config import TrainingConfig
from .datasets import DataError
from .datasets.check import decode
from .datasets.labels import Dataset
from .datasets.pixels import Advance
from .head import learn_on_features
from .losses import SoftTriple, cosines
from .method import soft_triple
from .processes import alone
from .trainer import architecture

FOLDS, ROUNDS = 5, 2
STEPS = FOLDS * ROUNDS  # that ``judged`` hears of
LIKELY = 0.5  # probability from which a label is likelier wrong than right, and the second round does not learn from it
MOST = 100  # suspects that are listed
_EPOCHS = 10
_SCALES = np.geomspace(4, 80, 25)  # of similarities, among which the most likely one is taken
_STEPS = 200  # of expectation and maximisation
_LEAST = 1e-30
_BATCH = 64
_BLOCK = 2**24  # similarities at a time: 64 MB

# (places to learn from, their classes, number of classes, places to compare, seed) → unit vectors [M, D], and the loss with
# its centres. The network may be frozen or trained: nothing else here depends on it.
Learn = Callable[[np.ndarray, np.ndarray, int, np.ndarray, int], tuple[Tensor, SoftTriple]]


@dataclass(frozen=True)
class Suspect:
    """``row`` of the data, and ``number`` of that row in its source. ``probability``: that the label is wrong.
    ``similarity`` to the centre of its own label, and of ``looks_like``: cosines, about 1 for a typical image of a class."""

    row: int
    number: int
    path: str
    label: str
    looks_like: str
    probability: float
    similarity: float
    similarity_of_other: float


@dataclass(frozen=True)
class Audit:
    """N images, in the order of the data. ``probability`` [N]: that the label is wrong; not a number where it was not judged,
    because no other image has this label. ``other`` [N]: the class that is most like it but for its own, or -1;
    ``similarities`` [N, 2]: to its own centre and to that of the other. ``share``: of wrong labels among those judged;
    ``scale``: that of similarities at which they explain the labels best.

    The probability supposes that a wrong label is any other label, each as likely. Where people confused classes that look the
    same, it is far too low, and only the order helps: so suspects are listed whatever their probability.
    """

    files: Sequence[str]
    numbers: Sequence[int]
    labels: Sequence[str]
    classes: tuple[str, ...]
    probability: np.ndarray
    other: np.ndarray
    similarities: np.ndarray
    share: float
    scale: float
    seed: int

    @cached_property
    def ranked(self) -> np.ndarray:
        """Rows of the images that were judged, the likeliest wrong label first."""
        return np.argsort(-self.probability, kind="stable")[: int(self.judged.sum())]

    @property
    def judged(self) -> np.ndarray:
        return ~np.isnan(self.probability)

    @property
    def likely(self) -> int:
        """How many labels are likelier wrong than right."""
        return int((self.probability >= LIKELY).sum())

    @property
    def expected(self) -> float:
        """How many labels are wrong, as far as the probabilities hold."""
        return float(np.nansum(self.probability))

    def suspects(self, most: int | None = MOST, least: float = 0.0) -> list[Suspect]:
        """The first ``most`` (None: all), of those whose label is wrong with the probability ``least`` or more."""
        return [self._suspect(int(row)) for row in self.ranked[:most] if self.probability[row] >= least]

    def _suspect(self, row: int) -> Suspect:
        own, other = map(float, self.similarities[row])
        like, probability = self.classes[self.other[row]], float(self.probability[row])
        return Suspect(row, self.numbers[row], self.files[row], self.labels[row], like, probability, own, other)

    def figures(self, most: int | None = MOST, least: float = 0.0) -> dict[str, Any]:
        """All that was found, as JSON holds it."""
        return {
            "images": len(self.files),
            "classes": len(self.classes),
            "judged": int(self.judged.sum()),
            "likely": self.likely,
            "expected": round(self.expected, 1),
            "scale": self.scale,
            "seed": self.seed,
            "suspects": [
                {"number": each.number, "path": each.path, "label": each.label, "looks_like": each.looks_like}
                | {"probability": round(each.probability, 4), "similarity": round(each.similarity, 4)}
                | {"similarity_of_other": round(each.similarity_of_other, 4)}
                for each in self.suspects(most, least)
            ],
            "not_judged": [
                {"number": self.numbers[row], "path": self.files[row], "label": self.labels[row]}
                for row in map(int, np.flatnonzero(~self.judged))
            ],
        }


def audit(
    data: Dataset,
    config: TrainingConfig,
    *,
    read: Advance = lambda _: None,
    looked: Advance = lambda _: None,
    judged: Advance = lambda _: None,
) -> Audit:
    """Judge the labels of all images of ``data``, with the backbone of ``config``.

    ``read`` and ``looked`` hear of every image, ``judged`` of STEPS. Raises ``DataError``.
    """
    _check(data)
    pixels = decode(data, Transform(size=config.image_size, fit=config.fit), read)[0].pixels
    network = EmbeddingNetwork(architecture(config), pretrained=True, weights=config.weights)
    return judge(data, on_features(features(pixels, network, looked), config), config.seed, judged)


def _check(data: Dataset) -> None:
    _, counts = np.unique(data.labels, return_counts=True)
    if len(counts) < 2:
        raise DataError(f"{data.root} has one label only: what is wrong can only be told from other labels. Give two or more.")
    if counts.max() < 2:
        raise DataError(f"{data.root} has one image of each label: none can be judged by others. Give some labels two or more.")


def judge(data: Dataset, learn: Learn, seed: int, advance: Advance = lambda _: None) -> Audit:
    """Judge the labels of ``data`` by what ``learn`` makes of its rows. ``advance`` hears of STEPS. Raises ``DataError``."""
    _check(data)
    classes, labels = np.unique(data.labels, return_inverse=True)
    judged = np.bincount(labels)[labels] > 1
    trusted, probability, rounds = np.ones(len(labels), bool), np.full(len(labels), np.nan), []
    for turn in range(ROUNDS):
        rounds.append(_round(labels, trusted, learn, seed * ROUNDS + turn, advance))
        chances = np.mean([each.chances[judged] for each in rounds], axis=0)
        probability[judged], share, scale = fit(chances, len(classes))
        trusted = _trusted(labels, ~(probability >= LIKELY))
    seen = rounds[-1]
    names, other = tuple(map(str, classes)), np.where(judged, seen.other, -1)
    return Audit(
        data.table["path"], data.numbers, data.labels, names, probability, other, seen.similarities, share, scale, seed
    )


def _trusted(labels: np.ndarray, unsuspected: np.ndarray) -> np.ndarray:
    """Those to learn from: a class of which fewer than two images are left keeps all, for every fold needs one of it."""
    return unsuspected | (np.bincount(labels, unsuspected)[labels] < 2)


@dataclass(frozen=True)
class _Seen:
    """Of each image, out of fold: ``chances`` [N, scales] of its own label, ``similarities`` [N, 2] to its own class and to
    the ``other`` [N] that is most like it."""

    chances: np.ndarray
    similarities: np.ndarray
    other: np.ndarray


def _round(labels: np.ndarray, trusted: np.ndarray, learn: Learn, seed: int, advance: Advance) -> _Seen:
    count, classes = len(labels), int(labels.max()) + 1
    seen = _Seen(np.zeros((count, len(_SCALES))), np.full((count, 2), np.nan, np.float32), np.full(count, -1))
    fold = folds(labels, trusted, seed)
    for number in range(FOLDS):
        learnt, asked = np.flatnonzero((fold != number) & trusted), np.flatnonzero(fold == number)
        if len(asked):
            vectors, loss_of = learn(learnt, labels[learnt], classes, asked, seed * FOLDS + number)
            for part in np.array_split(np.arange(len(asked)), 1 + len(asked) * classes // _BLOCK):
                _compare(vectors[part], loss_of, labels, asked[part], seen)
        advance(1)
    return seen


@torch.no_grad()
def _compare(vectors: Tensor, loss_of: SoftTriple, labels: np.ndarray, rows: np.ndarray, seen: _Seen) -> None:
    """Fill in ``rows`` of ``seen``."""
    similarity = loss_of.similarity(cosines(vectors, loss_of.weight)[0])
    own = torch.from_numpy(labels[rows]).to(similarity.device)[:, None]
    for column, scale in enumerate(_SCALES):
        seen.chances[rows, column] = functional.softmax(scale * similarity, dim=1).gather(1, own)[:, 0].cpu().numpy()
    best, other = similarity.scatter(1, own, -torch.inf).max(dim=1)
    seen.similarities[rows] = torch.stack([similarity.gather(1, own)[:, 0], best], dim=1).cpu().numpy()
    seen.other[rows] = other.cpu().numpy()


def folds(labels: np.ndarray, trusted: np.ndarray, seed: int) -> np.ndarray:
    """The fold of each image, or -1 where it is the only one of its class and is always learnt from.

    A class is dealt out one by one, its trusted images first: two of them are never in one fold alone.
    """
    several = np.flatnonzero(np.bincount(labels)[labels] > 1)
    chance = np.random.default_rng(seed).permutation(len(several))
    order = several[np.lexsort((chance, ~trusted[several], labels[several]))]
    found = np.full(len(labels), -1)
    found[order] = np.arange(len(order)) % FOLDS
    return found


def fit(chances: np.ndarray, classes: int) -> tuple[np.ndarray, float, float]:
    """``chances`` [N, scales] that images have their labels → the probability [N] that the label is wrong, the share of wrong
    labels, and the scale: both are those that make the labels most likely.

    A share of the labels is wrong, and then any other with equal chance; the rest is drawn by the chances. So the probability
    is Bayes' rule, and grows as the chance falls.
    """
    fits = [(*_mixture(chances[:, column], classes), column) for column in range(chances.shape[1])]
    _, wrong, share, column = max(fits, key=lambda found: found[0])
    return wrong, share, float(_SCALES[column])


def _mixture(chance: np.ndarray, classes: int) -> tuple[float, np.ndarray, float]:
    """Log-likelihood, probabilities and share. Half an image is added to both sides: no share is 0."""
    chance = np.clip(chance, _LEAST, 1.0)
    if_wrong, share = (1 - chance) / (classes - 1), 0.05
    for _ in range(_STEPS):
        wrong = share * if_wrong / (share * if_wrong + (1 - share) * chance)
        share = (float(wrong.sum()) + 0.5) / (len(wrong) + 1)
    return float(np.log(share * if_wrong + (1 - share) * chance).sum()), wrong, share


def on_features(seen: Tensor, config: TrainingConfig) -> Learn:
    """Learn a head and centres on ``seen`` [N, F], what a frozen backbone makes of the images."""
    # A second centre of a class would be where its wrong labels gather.
    config = config.model_copy(
        update={"centers": 1, "center_start": "data", "head_start": "pca", "head_epochs": max(_EPOCHS, config.head_epochs)}
    )
    device = alone().device

    def learn(learnt: np.ndarray, labels: np.ndarray, classes: int, asked: np.ndarray, seed: int) -> tuple[Tensor, SoftTriple]:
        settings = config.model_copy(update={"seed": seed})
        torch.manual_seed(seed)
        head = nn.Linear(seen.shape[1], settings.dim, bias=False).to(device)
        loss_of = soft_triple(classes, settings).to(device)
        learn_on_features(seen[None, learnt], labels, head, loss_of, settings)
        with torch.no_grad():
            return functional.normalize(head(seen[asked].to(device).float()), dim=1), loss_of

    return learn


@torch.no_grad()
def features(pixels: np.ndarray, network: EmbeddingNetwork, advance: Advance = lambda _: None) -> Tensor:
    """What the backbone of ``network`` makes of ``pixels`` uint8 [N, S, S, 3]: float16 [N, F]."""
    device = alone().device
    network = network.eval().to(device)
    parts = []
    cpu.keep_freed_memory()
    for start in range(0, len(pixels), _BATCH):
        images = torch.from_numpy(pixels[start : start + _BATCH]).to(device).permute(0, 3, 1, 2).float() / 255
        parts.append(network.features(images).half().cpu())
        advance(len(images))
    return torch.cat(parts)
