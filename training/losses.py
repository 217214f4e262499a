"""Embeddings and labels in, a scalar loss out.

SoftTriple: Qian et al., "SoftTriple Loss: Deep Metric Learning Without Triplet Sampling", ICCV 2019.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Rounding can make 2 − 2·cos slightly negative, and the square root's slope is infinite at 0.
_FLOOR = 1e-5
_SHORTEST = 1e-12  # what is shorter is divided by this instead of its length


class Loss(nn.Module):
    """Embeddings [B, D] of any length and classes int64 [B] in, a scalar out.

    ``visited``: how many pairs or triplets it was given so far; None for a loss that needs none.
    """

    visited: int | None = None

    @property
    def centers(self) -> Tensor | None:
        """What it holds of the classes [C, K, D], to be read and written to; None where it holds nothing."""
        return None


class SoftTriple(Loss):
    """Cross-entropy over classes that own several centres each, plus a pull of a class's centres towards one another.

    With x and w of length 1 (both are normalised here), class c and its centres k:
        S_c  = Σ_k softmax_k(x·w_ck / gamma) · x·w_ck                                   (paper, eq. 5 and 7)
        loss = mean_x CE(scale · (S − margin · onehot(y)), y)
             + tau · Σ_{c, i<j} √(2 − 2 w_ci·w_cj) / (C · K · (K−1))                    (eq. 8 and 10; none for K = 1)

    ``weight`` [num_classes, centers, dim] holds the centres; they start at random, or where ``weight.data.copy_`` puts them.
    Everything is computed in the centres' type, whatever the autocast. Memory and time grow linearly with the classes: a step
    holds two tensors of the centres' size, one of which is their gradient.
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

    @property
    def centers(self) -> Tensor:
        return self.weight

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """``embeddings`` [B, dim] of any length, ``labels`` int64 [B] → scalar."""
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = functional.normalize(embeddings.to(self.weight.dtype), dim=1)
            to_centers, between_centers = cosines(embeddings, self.weight)
            similarity = self.similarity(to_centers)
            margins = similarity.new_full((len(labels), 1), -self.margin)
            loss = functional.cross_entropy(self.scale * similarity.scatter_add(1, labels[:, None], margins), labels)
            return loss + self.tau * spread(between_centers) if self.weight.shape[1] > 1 and self.tau > 0 else loss

    def similarity(self, cosines: Tensor) -> Tensor:
        """Cosines with all centres [B, C, K] → relaxed similarity to each class [B, C] (paper, eq. 5)."""
        return (functional.softmax(cosines / self.gamma, dim=2) * cosines).sum(dim=2)


def spread(cosines: Tensor) -> Tensor:
    """Mean distance between the centres of a class, from their cosines [C, K, K], K ≥ 2 → scalar (paper, eq. 8)."""
    classes, k, _ = cosines.shape
    first, second = torch.triu_indices(k, k, offset=1, device=cosines.device)
    squared = 2 + _FLOOR - 2 * cosines[:, first, second]
    return squared.clamp_min(_FLOOR).sqrt().sum() / (classes * k * (k - 1))


def cosines(embeddings: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Unit rows [B, D] and centres [C, K, D] of any length → cosines of rows with centres [B, C, K], and of the centres of
    each class [C, K, K]: a Gram matrix over all C·K centres would hold the same values among (C·K)² others.
    """
    return _Cosines.apply(embeddings, centers)


class _Cosines(torch.autograd.Function):
    """One function with its own gradient, for two reasons. The backward pass runs when the forward pass has put the
    precision back; and step by step, autograd holds more than twice as many tensors of the centres' size.
    """

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
        lengths = torch.linalg.vector_norm(centers, dim=2, keepdim=True).clamp_min(_SHORTEST)
        ctx.save_for_backward(embeddings, centers, lengths)
        unit = centers / lengths
        with full_precision(centers.device.type):
            return (embeddings @ unit.flatten(0, 1).T).view(-1, *centers.shape[:2]), unit @ unit.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_centers: Tensor, between_centers: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of both results → those of both inputs."""
        embeddings, centers, lengths = ctx.saved_tensors
        unit = centers / lengths  # again: kept meanwhile, they would be one more tensor of this size
        to_centers = to_centers.flatten(1)
        with full_precision(centers.device.type):
            of_embeddings = to_centers @ unit.flatten(0, 1)
            of_unit = (to_centers.T @ embeddings).view_as(unit).baddbmm_(between_centers + between_centers.mT, unit)
            radial = (of_unit.unsqueeze(2) @ unit.unsqueeze(3)).squeeze(3)  # a change of length changes no cosine
        return of_embeddings, of_unit.addcmul_(unit, radial, value=-1).div_(lengths)


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """No autocast and no bf16 or TF32 inside matrix products: rounded cosines of near-identical centres are useless."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
