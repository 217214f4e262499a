"""Embeddings and labels in, a scalar loss out.

SoftTriple: Qian et al., "SoftTriple Loss: Deep Metric Learning Without Triplet Sampling", ICCV 2019.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

# Rounding can make 2 − 2·cos slightly negative, and the square root's slope is infinite at 0.
_FLOOR = 1e-5


class SoftTriple(nn.Module):
    """Cross-entropy over classes that own several centres each, plus a pull of a class's centres towards one another.

    With x and w of length 1 (both are normalised here), class c and its centres k:
        S_c  = Σ_k softmax_k(x·w_ck / gamma) · x·w_ck                                   (paper, eq. 5 and 7)
        loss = mean_x CE(scale · (S − margin · onehot(y)), y)
             + tau · Σ_{c, i<j} √(2 − 2 w_ci·w_cj) / (C · K · (K−1))                    (eq. 8 and 10; none for K = 1)

    ``weight`` [num_classes, centers, dim] holds the centres. Everything is computed in float32 (float64 for float64
    input), whatever the autocast. Memory and time of the second term grow linearly with the classes.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        centers: int = 2,
        scale: float = 20.0,
        gamma: float = 0.1,
        tau: float = 0.2,
        margin: float = 0.01,
    ) -> None:
        super().__init__()
        self.scale, self.gamma, self.tau, self.margin = scale, gamma, tau, margin
        # The authors' Kaiming-uniform (a = √5) over a [dim, C·K] matrix; the call itself would see another fan-in here.
        bound = 1 / math.sqrt(num_classes * centers)
        self.weight = nn.Parameter(torch.empty(num_classes, centers, dim).uniform_(-bound, bound))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """``embeddings`` [B, dim] of any length, ``labels`` int64 [B] → scalar."""
        with _full_precision(embeddings.device.type):
            centers = functional.normalize(self.weight, dim=2)
            embeddings = functional.normalize(embeddings.to(centers.dtype), dim=1)
            similarity = self.similarity(embeddings, centers)
            target = functional.one_hot(labels, len(centers))
            loss = functional.cross_entropy(self.scale * (similarity - self.margin * target), labels)
            return loss + self.tau * spread(centers) if centers.shape[1] > 1 and self.tau > 0 else loss

    def similarity(self, embeddings: Tensor, centers: Tensor) -> Tensor:
        """Unit rows [B, D] and unit centres [C, K, D] → relaxed similarity to each class [B, C]."""
        cosines = (embeddings @ centers.flatten(0, 1).T).unflatten(1, centers.shape[:2])
        return (functional.softmax(cosines / self.gamma, dim=2) * cosines).sum(dim=2)


def spread(centers: Tensor) -> Tensor:
    """Mean distance between the centres of a class: unit centres [C, K, D], K ≥ 2 → scalar (paper, eq. 8).

    One K × K product a class: a Gram matrix over all C·K centres would hold the same values among (C·K)² others.
    """
    classes, k, _ = centers.shape
    cosines = centers @ centers.transpose(1, 2)
    first, second = torch.triu_indices(k, k, offset=1, device=centers.device)
    squared = 2 + _FLOOR - 2 * cosines[:, first, second]
    return squared.clamp_min(_FLOOR).sqrt().sum() / (classes * k * (k - 1))


@contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """No autocast and no bf16 or TF32 inside matrix products: rounded cosines of near-identical centres are useless."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
