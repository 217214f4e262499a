"""The losses beside SoftTriple: what they are, and what the trainer asks of them."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils import common_functions
from torch import Tensor
from torch.nn import functional

from training.compare.baselines import CONTENDERS, PER_CLASS, several_of_a_class
from training.compare.stages import Choice
from training.config import TrainingConfig
from training.losses import SoftTriple
from training.sampler import batches

CLASSES, DIM = 6, 8
CONFIG = TrainingConfig(dim=DIM, batch=16)
OTHERS = [name for name in CONTENDERS if name != "softtriple"]


def loss_of(name: str, classes: int = CLASSES, **parameters: object) -> torch.nn.Module:
    torch.manual_seed(0)
    contender = CONTENDERS[name]
    choice = Choice(name, {**contender.published, **parameters})
    return choice.method().loss(classes, choice.config(CONFIG))


def batch(images: int = 24) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(images, DIM, generator=random, requires_grad=True), torch.arange(images) % CLASSES


def unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1)


@pytest.mark.parametrize("name", CONTENDERS)
def test_each_teaches_embeddings(name: str) -> None:
    x, y = batch()
    loss = loss_of(name)(x, y)
    loss.backward()
    assert loss.ndim == 0 and loss.isfinite() and loss > 0
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", CONTENDERS)
def test_length_does_not_matter(name: str) -> None:
    x, y = batch()
    assert loss_of(name)(3 * x, y).item() == pytest.approx(loss_of(name)(x, y).item(), rel=1e-4)


@pytest.mark.parametrize("name", CONTENDERS)
def test_it_is_in_float32_whatever_the_autocast(name: str) -> None:
    x, y = batch()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss_of(name)(x.bfloat16(), y)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(loss_of(name)(x.bfloat16().float(), y).item(), rel=1e-5)


@pytest.mark.parametrize("name", CONTENDERS)
def test_centres_can_be_put_somewhere(name: str) -> None:
    """What is written into ``weight`` is what the loss learns with."""
    loss, (x, y) = loss_of(name), batch()
    assert (loss.centers is not None) == CONTENDERS[name].has_proxies == any(True for _ in loss.parameters())
    if loss.centers is None:
        return
    assert loss.centers.shape[::2] == (CLASSES, DIM)
    before = loss(x, y).item()
    with torch.no_grad():
        loss.centers.copy_(torch.stack([x[y == label].mean(dim=0) for label in range(CLASSES)]).unsqueeze(1))
    assert loss(x, y).item() < before


def test_softmax_is_soft_triple_of_one_centre() -> None:
    ours, theirs = SoftTriple(CLASSES, DIM, centers=1, scale=20, margin=0), loss_of("softmax", temperature=0.05)
    ours.weight.data = theirs.centers.clone()
    assert theirs(*batch()).item() == pytest.approx(ours(*batch()).item(), rel=1e-5)


def test_proxy_nca_has_vectors_of_length_three() -> None:
    x, y = batch()
    loss = loss_of("proxy-nca")
    squared = torch.cdist(3 * unit(x), 3 * unit(loss.centers[:, 0])).square()
    assert loss(x, y).item() == pytest.approx(functional.cross_entropy(-squared, y).item(), rel=1e-4)


def test_triplets_are_semi_hard_in_squared_distance() -> None:
    x, y = batch()
    loss = loss_of("triplet", margin=0.2)
    squared = torch.cdist(unit(x), unit(x)).square()
    violations = []
    for anchor in range(len(y)):
        for positive in (y == y[anchor]).nonzero()[:, 0].tolist():
            for negative in (y != y[anchor]).nonzero()[:, 0].tolist():
                gap = (squared[anchor, negative] - squared[anchor, positive]).item()
                if positive != anchor and 0 < gap <= 0.2:
                    violations.append(0.2 - gap)
    assert loss(x, y).item() == pytest.approx(np.mean(violations), rel=1e-3)
    assert loss.visited == len(violations)


def test_pairs_are_counted() -> None:
    loss = loss_of("contrastive")
    loss(*batch())
    loss(*batch(12))
    assert loss.visited == 24 * 23 + 12 * 11


@pytest.mark.parametrize("name", ["triplet", "contrastive", "multi-similarity"])
def test_batches_of_pairs_hold_several_images_of_a_class(name: str) -> None:
    labels = np.repeat(np.arange(10), 9)
    order = CONTENDERS[name].method(CONTENDERS[name].published).order
    rows = order(labels, 0, CONFIG)
    assert abs(len(rows) - len(labels)) < CONFIG.batch
    for part in batches(rows, CONFIG.batch):
        counts = np.bincount(labels[part], minlength=10)
        assert set(counts) <= {0, PER_CLASS} and len(part) == CONFIG.batch
    assert len(set(rows.tolist())) > len(labels) / 2


def test_an_order_is_that_of_its_seed_and_epoch() -> None:
    labels = np.repeat(np.arange(10), 9)
    before = common_functions.NUMPY_RANDOM
    first, again, later = (several_of_a_class(labels, epoch, CONFIG) for epoch in (3, 3, 4))
    other = several_of_a_class(labels, 3, CONFIG.model_copy(update={"seed": 1}))
    assert np.array_equal(first, again) and not np.array_equal(first, later) and not np.array_equal(first, other)
    assert common_functions.NUMPY_RANDOM is before


def test_few_classes_make_smaller_batches() -> None:
    rows = several_of_a_class(np.repeat(np.arange(3), 5), 0, CONFIG)
    assert len(rows) == 12 and (np.bincount(rows // 5) == PER_CLASS).all()
