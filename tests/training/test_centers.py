"""Centres out of data find what was planted; centres are counted as a plain union-find counts them."""

import itertools
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from training import centers as module
from training.centers import distinct, from_data
from training.losses import SoftTriple


def planted(classes: int, modes: int, images: int, dim: int = 16, noise: float = 0.1) -> tuple[Tensor, Tensor, Tensor]:
    """Orthogonal unit modes [C, modes, D], and shuffled ``images`` around each, of any length: embeddings, labels."""
    directions = torch.linalg.qr(torch.randn(classes, dim, dim))[0][:, :modes]
    embeddings = directions.repeat_interleave(images, dim=1) + noise * torch.randn(classes, modes * images, dim) / dim**0.5
    embeddings = embeddings * (0.5 + 5 * torch.rand(classes, modes * images, 1))
    order = torch.randperm(classes * modes * images)
    labels = torch.arange(classes).repeat_interleave(modes * images)
    return directions, embeddings.flatten(0, 1)[order], labels[order]


def nearest_cosine(vectors: Tensor, centers: Tensor) -> Tensor:
    """[C, M, D] and [C, K, D] → cosine of each vector with the nearest centre of its class [C, M]."""
    return (functional.normalize(vectors, dim=2) @ functional.normalize(centers, dim=2).mT).amax(dim=2)


# Centres out of data


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 9), st.integers(0, 1000))
def test_a_centre_for_every_planted_mode(classes: int, modes: int, images: int, seed: int) -> None:
    torch.manual_seed(seed)
    directions, embeddings, labels = planted(classes, modes, images)
    found = from_data(embeddings, labels, classes, modes, seed)
    assert found.shape == (classes, modes, 16) and found.dtype == torch.float32
    assert nearest_cosine(directions, found).min() > 0.98
    assert (distinct(found) == modes).all()


def test_one_centre_is_the_mean_direction() -> None:
    embeddings = functional.normalize(torch.randn(50, 12) + 1, dim=1)
    labels = torch.arange(50) % 4
    found = from_data(embeddings, labels, 4, 1, seed=0)
    means = torch.stack([embeddings[labels == each].mean(dim=0) for each in range(4)])
    assert nearest_cosine(means.unsqueeze(1), found).min() > 0.9995


@pytest.mark.parametrize("numbers", [1, 500, 2**24])
def test_the_order_of_images_and_the_size_of_chunks_do_not_matter(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    labels = torch.arange(40).repeat_interleave(torch.arange(40) % 13 + 3)
    embeddings = torch.randn(len(labels), 24)
    expected = from_data(embeddings, labels, 40, 3, seed=5)
    monkeypatch.setattr(module, "_NUMBERS", numbers)
    order = torch.randperm(len(labels))
    torch.testing.assert_close(from_data(embeddings[order], labels[order], 40, 3, seed=5), expected, atol=1e-5, rtol=0)


def test_more_centres_than_images() -> None:
    torch.manual_seed(0)
    sizes = torch.tensor([1, 2, 3, 5, 0])
    labels = torch.arange(5).repeat_interleave(sizes)
    embeddings = torch.linalg.qr(torch.randn(16, 16))[0][: len(labels)]
    found = from_data(embeddings, labels, 5, 10, seed=1)
    assert distinct(found).tolist() == [1, 2, 3, 5, 10]  # a class without images has random ones
    unit = functional.normalize(found, dim=2)
    for label, size in enumerate(sizes[:4].tolist()):
        cosines = embeddings[labels == label] @ unit[label].T
        assert cosines.amax(dim=0).min() > 0.999  # every centre is beside an image
        shares = (cosines > 0.999).sum(dim=1)
        assert set(shares.tolist()) <= {10 // size, -(-10 // size)}  # and the images share them evenly


def test_equal_images_have_centres_that_differ() -> None:
    found = from_data(torch.ones(6, 32), torch.tensor([0, 0, 0, 1, 1, 1]), 2, 4, seed=0)
    distances = torch.cdist(functional.normalize(found, dim=2).double(), functional.normalize(found, dim=2).double())
    pairs = distances[:, *torch.triu_indices(4, 4, offset=1)]
    assert pairs.min() > 1e-5**0.5  # what the regulariser rounds off
    assert pairs.max() < 0.03


def test_a_seed_decides_everything() -> None:
    _, embeddings, labels = planted(5, 2, 4)
    state = torch.get_rng_state()
    first, again, other = (from_data(embeddings, labels, 6, 3, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("classes", "centers", "dim"), [(50, 2, 64), (200, 10, 32)])
def test_the_length_is_that_of_a_random_start(classes: int, centers: int, dim: int) -> None:
    found = from_data(torch.randn(3 * classes, dim), torch.arange(classes).repeat(3), classes, centers, seed=0)
    loss_of = SoftTriple(classes, dim, centers)
    lengths = found.norm(dim=2)
    torch.testing.assert_close(lengths, torch.full_like(lengths, lengths.mean().item()))
    assert lengths.mean().item() == pytest.approx(loss_of.weight.norm(dim=2).mean().item(), rel=0.02)
    loss_of.weight.data.copy_(found)
    assert loss_of(torch.randn(4, dim), torch.arange(4)).isfinite()


def test_zero_embeddings_and_wild_lengths_are_finite() -> None:
    embeddings = torch.randn(9, 8) * torch.tensor([0.0, 1e-15, 1e15]).repeat_interleave(3)[:, None]
    assert from_data(embeddings, torch.arange(9) % 2, 2, 3, seed=0).isfinite().all()


@pytest.mark.parametrize(("classes", "images", "centers", "dim"), [(11_318, 5, 2, 128), (100_000, 3, 2, 32)])
def test_many_classes_take_seconds(classes: int, images: int, centers: int, dim: int) -> None:
    embeddings, labels = torch.randn(classes * images, dim), torch.arange(classes).repeat(images)
    started = time.monotonic()
    found = from_data(embeddings, labels, classes, centers, seed=0)
    counts = distinct(found)
    assert time.monotonic() - started < 30  # 1 s on an idle machine
    assert counts.shape == (classes,) and found.isfinite().all()


# Distinct centres


def components(unit: Tensor, cosine: float) -> int:
    """Union-find over the centres [K, D] of one class."""
    parents = list(range(len(unit)))

    def root(each: int) -> int:
        return each if parents[each] == each else root(parents[each])

    for i, j in itertools.combinations(range(len(unit)), 2):
        if (unit[i] @ unit[j]).item() >= cosine:
            parents[root(i)] = root(j)
    return len({root(each) for each in parents})


@settings(deadline=None, max_examples=100)
@given(
    classes=st.integers(1, 6),
    centers=st.integers(1, 11),
    dim=st.integers(2, 5),
    cosine=st.sampled_from([0.5, 0.8, 0.95, 0.99]),
    seed=st.integers(0, 10_000),
)
def test_distinct_is_union_find_in_any_order(classes: int, centers: int, dim: int, cosine: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, centers, dim, dtype=torch.float64, generator=random)
    found = distinct(weight, cosine)
    assert found.dtype == torch.int64
    assert found.tolist() == [components(each, cosine) for each in functional.normalize(weight, dim=2)]
    lengths = 0.1 + torch.rand(classes, centers, 1, dtype=torch.float64, generator=random)
    order = torch.randperm(centers, generator=random)
    assert torch.equal(distinct((lengths * weight)[:, order], cosine), found)


@pytest.mark.parametrize("centers", [1, 2, 3, 5, 8, 9, 16, 17])
def test_a_chain_is_one(centers: int) -> None:
    """Each is near the next, and the first far from the last: single linkage makes them one; a gap makes them two."""
    turns = 0.3 * torch.arange(centers)  # cos 0.3 = 0.955, cos 0.6 = 0.825
    weight = torch.stack([turns.cos(), turns.sin()], dim=1)[torch.randperm(centers)]
    assert distinct(weight.unsqueeze(0)).tolist() == [1]
    assert distinct(weight[None, turns.argsort()], cosine=0.96).tolist() == [centers]


def test_chunks_count_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(30, 4, 3)
    whole = distinct(weight, 0.8)
    monkeypatch.setattr(module, "_NUMBERS", 50)
    assert torch.equal(distinct(weight, 0.8), whole)


def test_centres_without_direction_are_counted() -> None:
    assert distinct(torch.zeros(2, 3, 4)).tolist() == [3, 3]


def test_reduced_products_change_no_count() -> None:
    before = torch.get_float32_matmul_precision()
    weight = torch.randn(50, 6, 4)
    expected = distinct(weight)
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(distinct(weight), expected)
    finally:
        torch.set_float32_matmul_precision(before)
