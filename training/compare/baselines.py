"""The losses that SoftTriple is compared with: parameters in, a ``Method`` out, with the sampler and the miner that each needs.

The losses, miners and the sampler are those of pytorch-metric-learning (extra ``compare``). A contender knows its published
parameters, and the values around them that are worth a trial.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.utils import common_functions
from torch import Tensor, nn

from ..config import TrainingConfig
from ..losses import Loss
from ..method import SOFT_TRIPLE, Method, shuffled

PER_CLASS = 4  # images of a class in a batch of pairs or triplets
Parameters = Mapping[str, Any]


class Baseline(Loss):
    """A loss of pytorch-metric-learning as a ``Method`` wants it, in float32 whatever the autocast.

    ``proxies``: its parameter seen as centres [C, K, D]. ``visited`` counts the pairs or triplets that a loss without proxies
    was given.
    """

    def __init__(self, loss: nn.Module, miner: nn.Module | None = None, proxies: Callable[[Any], Tensor] | None = None) -> None:
        super().__init__()
        self.loss, self.miner, self._proxies = loss, miner, proxies
        self.visited = 0 if proxies is None else None

    @property
    def centers(self) -> Tensor | None:
        return None if self._proxies is None else self._proxies(self.loss).detach()

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.float()
            mined = None if self.miner is None else self.miner(embeddings, labels)
            if self._proxies is None:
                self.visited = (self.visited or 0) + (len(labels) * (len(labels) - 1) if mined is None else _count(mined))
            return self.loss(embeddings, labels, mined)


def _count(mined: tuple[Tensor, ...]) -> int:
    """Of triplets (a, p, n), or of pairs (a, p, a, n)."""
    return len(mined[0]) if len(mined) == 3 else len(mined[0]) + len(mined[2])


def several_of_a_class(labels: np.ndarray, epoch: int, config: TrainingConfig) -> np.ndarray:
    """As many rows as there are images, in batches of ``PER_CLASS`` images each of as many classes as fit."""
    batch = min(config.batch, len(np.unique(labels)) * PER_CLASS) // PER_CLASS * PER_CLASS
    before = common_functions.NUMPY_RANDOM
    common_functions.NUMPY_RANDOM = np.random.RandomState([config.seed % 2**32, epoch])
    try:
        return np.array(list(MPerClassSampler(labels, PER_CLASS, batch, max(batch, len(labels)))))
    finally:
        common_functions.NUMPY_RANDOM = before


@dataclass(frozen=True)
class Contender:
    """``published``: the parameters of its paper, or where that names none for unit vectors, of the library's authors;
    ``tried``: values for each around them. ``method`` and ``settings`` are made of parameters: how to learn, and what changes
    in the training's settings. ``has_proxies``: centres that learn, at a rate of their own."""

    title: str
    published: Parameters
    tried: Mapping[str, tuple[Any, ...]]
    method: Callable[[Parameters], Method]
    settings: Callable[[Parameters], Parameters] = lambda _: {}
    has_proxies: bool = True

    @property
    def combinations(self) -> int:
        return math.prod(map(len, self.tried.values()))


def _baseline(
    build: Callable[..., Baseline], order: Callable[[np.ndarray, int, TrainingConfig], np.ndarray] = shuffled
) -> Callable[[Parameters], Method]:
    def method(parameters: Parameters) -> Method:
        return Method(lambda classes, config: build(classes, config.dim, **parameters), order)

    return method


def _softmax(classes: int, dim: int, temperature: float) -> Baseline:
    return Baseline(
        losses.NormalizedSoftmaxLoss(classes, dim, temperature=temperature), None, lambda loss: loss.W.T.unflatten(0, (-1, 1))
    )


def _proxy_nca(classes: int, dim: int, scale: float) -> Baseline:
    return Baseline(losses.ProxyNCALoss(classes, dim, softmax_scale=scale), None, lambda loss: loss.proxies.unsqueeze(1))


def _proxy_anchor(classes: int, dim: int, margin: float, alpha: float) -> Baseline:
    loss = losses.ProxyAnchorLoss(classes, dim, margin=margin, alpha=alpha)
    return Baseline(loss, None, lambda loss: loss.proxies.unsqueeze(1))


def _arcface(classes: int, dim: int, margin: float, scale: float, sub_centers: int) -> Baseline:
    loss = losses.SubCenterArcFaceLoss(
        num_classes=classes, embedding_size=dim, margin=margin, scale=scale, sub_centers=sub_centers
    )
    return Baseline(loss, None, lambda loss: loss.W.T.unflatten(0, (-1, sub_centers)))


def _triplet(classes: int, dim: int, margin: float) -> Baseline:
    distance = LpDistance(power=2)  # squared, as in the paper
    miner = miners.TripletMarginMiner(margin=margin, type_of_triplets="semihard", distance=distance)
    return Baseline(losses.TripletMarginLoss(margin=margin, distance=distance), miner)


def _contrastive(classes: int, dim: int, neg_margin: float, pos_margin: float) -> Baseline:
    return Baseline(losses.ContrastiveLoss(pos_margin=pos_margin, neg_margin=neg_margin))


def _multi_similarity(classes: int, dim: int, alpha: float, beta: float, base: float, epsilon: float) -> Baseline:
    return Baseline(losses.MultiSimilarityLoss(alpha, beta, base), miners.MultiSimilarityMiner(epsilon))


def _proxies(_: Parameters) -> Parameters:
    """Adam's usual epsilon, as their authors had it. Trials have SoftTriple's for all as well."""
    return {"center_epsilon": 1e-8}


SOFT_TRIPLE_NAME = "softtriple"
CONTENDERS: dict[str, Contender] = {
    SOFT_TRIPLE_NAME: Contender(
        "SoftTriple",
        {"centers": 2, "scale": 20.0, "gamma": 0.1, "tau": 0.2, "margin": 0.01},
        {"centers": (2, 3, 5), "scale": (7.0, 10.0, 14.0, 20.0), "gamma": (0.1, 0.2), "tau": (0.2, 2.0)},
        lambda _: SOFT_TRIPLE,
        dict,
    ),
    # Zhai and Wu, "Classification is a strong baseline for deep metric learning", 2019
    "softmax": Contender(
        "normalised softmax",
        {"temperature": 0.05},
        {"temperature": (0.035, 0.05, 0.07, 0.1, 0.15)},
        _baseline(_softmax),
        _proxies,
    ),
    # Schroff et al., "FaceNet", 2015
    "triplet": Contender(
        "triplet, semi-hard",
        {"margin": 0.2},
        {"margin": (0.05, 0.1, 0.2, 0.4)},
        _baseline(_triplet, several_of_a_class),
        has_proxies=False,
    ),
    # Hadsell et al., "Dimensionality reduction by learning an invariant mapping", 2006
    "contrastive": Contender(
        "contrastive",
        {"neg_margin": 1.0, "pos_margin": 0.0},
        {"neg_margin": (0.6, 0.8, 1.0, 1.2), "pos_margin": (0.0, 0.2, 0.4)},
        _baseline(_contrastive, several_of_a_class),
        has_proxies=False,
    ),
    # Wang et al., "Multi-similarity loss with general pair weighting", 2019, and the authors' code
    "multi-similarity": Contender(
        "multi-similarity",
        {"alpha": 2.0, "beta": 50.0, "base": 0.5, "epsilon": 0.1},
        {"alpha": (1.0, 2.0, 4.0), "beta": (25.0, 40.0, 50.0), "base": (0.3, 0.5, 0.7), "epsilon": (0.05, 0.1, 0.2)},
        _baseline(_multi_similarity, several_of_a_class),
        has_proxies=False,
    ),
    # Movshovitz-Attias et al., "No fuss distance metric learning using proxies", 2017: vectors of length 3, so squared
    # distances of unit vectors times 9
    "proxy-nca": Contender("ProxyNCA", {"scale": 9.0}, {"scale": (3.0, 4.5, 6.0, 9.0, 13.0)}, _baseline(_proxy_nca), _proxies),
    # Kim et al., "Proxy anchor loss for deep metric learning", 2020
    "proxy-anchor": Contender(
        "Proxy-Anchor",
        {"margin": 0.1, "alpha": 32.0},
        {"margin": (0.05, 0.1, 0.2), "alpha": (8.0, 16.0, 32.0, 64.0)},
        _baseline(_proxy_anchor),
        _proxies,
    ),
    # Deng et al., "Sub-center ArcFace", 2020
    "subcenter-arcface": Contender(
        "sub-centre ArcFace",
        {"margin": 28.6, "scale": 64.0, "sub_centers": 3},
        {"margin": (5.7, 11.5, 17.2, 28.6), "scale": (8.0, 16.0, 32.0, 64.0), "sub_centers": (2, 3, 5)},
        _baseline(_arcface),
        _proxies,
    ),
}
