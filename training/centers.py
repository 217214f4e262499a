"""Where SoftTriple's centres start, out of embeddings and labels; and how many of a class's centres differ in the end."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from .losses import full_precision

_ROUNDS = 10  # of k-means, at most; few images a class settle in two or three
# Length of the noise that is added to unit centres. Two copies are then √2 times this apart, which is more than what the
# regulariser rounds off (√1e-5 = 0.003), so they can part; and a cosine of an image changes by less than this.
_JITTER = 0.01
_NUMBERS = 2**24  # that are looked at together: 64 MB of embeddings


@torch.no_grad()
def from_data(embeddings: Tensor, labels: Tensor, num_classes: int, centers: int, seed: int) -> Tensor:
    """Spherical k-means in every class: ``embeddings`` [N, D] of any length, ``labels`` int64 [N], each in
    [0, num_classes) → float32 [num_classes, centers, D].

    Farthest-point start, so equal sets of images give equal sets of centres in any order, but for ties and rounding. Where
    a class has fewer images than centres, its images share them; where it has none, they are random. No two are equal.
    The length is the mean one of ``SoftTriple``'s random start, because Adam's steps are relative to it. Dhillon and Modha,
    "Concept decompositions for large sparse text data using clustering", 2001; Gonzalez, "Clustering to minimize the maximum
    intercluster distance", 1985.
    """
    dim, device = embeddings.shape[1], embeddings.device
    found = torch.zeros(num_classes, centers, dim, device=device)
    with full_precision(device.type):
        embeddings = functional.normalize(embeddings.float(), dim=1)
        for classes, rows, there in _classes_of_similar_size(labels, num_classes, _NUMBERS // (dim + centers)):
            images = embeddings[rows] * there.unsqueeze(2)
            found[classes] = _spherical_k_means(images, _farthest_points(images, there, centers))
    noise = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed)).to(device)
    found += noise.mul_(_JITTER / math.sqrt(dim))  # alone where there is no image, and then normalised as well
    return functional.normalize(found, dim=2).mul_(math.sqrt(dim / 3 / (num_classes * centers)))


def _classes_of_similar_size(labels: Tensor, num_classes: int, most: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Chunks of c classes whose sizes have the same power of two n above them: the classes [c], the rows of their images
    [c, n], and which of these are images [c, n], others being there to fill. c · n ≤ ``most``, but for a single class.
    """
    sizes = torch.bincount(labels, minlength=num_classes)
    rows, starts = labels.argsort(stable=True), sizes.cumsum(0) - sizes
    exponents = sizes.double().log2().ceil()  # -inf: no images
    for exponent in exponents[sizes > 0].unique().tolist():
        width = 2 ** int(exponent)
        place = torch.arange(width, device=labels.device)
        for classes in (exponents == exponent).nonzero().flatten().split(max(1, most // width)):
            there = place < sizes[classes, None]
            yield classes, rows[starts[classes, None] + place * there], there


def _farthest_points(images: Tensor, there: Tensor, centers: int) -> Tensor:
    """Unit images [c, n, D], which of them exist [c, n] → those where centres start [c, centers, D]: the one nearest to the
    mean, then always the one farthest from all before it. After the last image they repeat.
    """
    everyone = torch.arange(len(images), device=images.device)
    nearness = (images @ images.sum(dim=1).unsqueeze(2)).squeeze(2)
    picks = [nearness.masked_fill(~there, -math.inf).argmax(dim=1)]
    nearest = torch.full_like(nearness, -math.inf).masked_fill(~there, math.inf)  # cosine with the nearest pick
    for _ in range(1, centers):
        cosines = (images @ images[everyone, picks[-1]].unsqueeze(2)).squeeze(2)
        nearest = torch.maximum(nearest, cosines).scatter_(1, picks[-1].unsqueeze(1), 2.0)  # no image twice
        picks.append(nearest.argmin(dim=1))
    repeated = torch.arange(centers, device=images.device) % there.sum(dim=1, keepdim=True)
    return images[everyone.unsqueeze(1), torch.stack(picks, dim=1).gather(1, repeated)]


def _spherical_k_means(images: Tensor, centers: Tensor) -> Tensor:
    """Unit images [c, n, D], zeros where there is none, and where centres start [c, K, D] → unit centres [c, K, D]."""
    before = None
    for _ in range(_ROUNDS):
        nearest = (images @ centers.mT).argmax(dim=2)
        if before is not None and torch.equal(nearest, before):
            break
        before = nearest
        sums = functional.one_hot(nearest, centers.shape[1]).to(images.dtype).mT @ images
        # A centre without images stays where it is.
        centers = torch.where(sums.norm(dim=2, keepdim=True) > 1e-6, functional.normalize(sums, dim=2), centers)
    return centers


@torch.no_grad()
def distinct(weight: Tensor, cosine: float = 0.95) -> Tensor:
    """How many centres a class really has: ``weight`` [C, K, D] of any length → int64 [C].

    Centres are one if their cosine is ``cosine`` or more, and so are those that others connect (single linkage).
    """
    _, k, dim = weight.shape
    counts = []
    for chunk in weight.split(max(1, _NUMBERS // (k * max(k, dim)))):
        unit = functional.normalize(chunk, dim=2)
        with full_precision(weight.device.type):
            reached = unit @ unit.mT >= cosine
        reached |= torch.eye(k, dtype=torch.bool, device=weight.device)
        for _ in range(k.bit_length()):  # each doubles how long a chain may be
            reached = reached.float() @ reached.float() > 0
        first_reached = reached.int().argmax(dim=2)
        counts.append((first_reached == torch.arange(k, device=weight.device)).sum(dim=1))
    return torch.cat(counts)
