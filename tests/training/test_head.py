"""The head and the centres learn on what a frozen backbone sees."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.network import EmbeddingNetwork
from model.transform import Transform
from training.augment import draws
from training.config import TrainingConfig
from training.datasets.check import decode
from training.datasets.labels import read
from training.examples import Examples, of
from training.head import fit_head, start_centers, start_head, views
from training.losses import SoftTriple
from training.processes import alone
from training.trainer import architecture

CONFIG = TrainingConfig(
    backbone="efficientnet_lite0", image_size=48, train_size=32, dim=8, centers=2, batch=16, head_epochs=6, views=3,
    precision="f32", head_learning_rate=0.01, balance=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> EmbeddingNetwork:
    torch.manual_seed(0)
    return EmbeddingNetwork(architecture(CONFIG), pretrained=True).eval()


@pytest.fixture(scope="module")
def examples() -> Examples:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 48, 48, 3), np.uint8)
    return of(pixels, [str(row % 7) for row in range(70)])


def test_every_view_is_another_one_of_every_picture(network: EmbeddingNetwork, examples: Examples) -> None:
    looks: list[int] = []
    found = views(network, examples, CONFIG, alone(), looks.append)
    assert found.shape == (3, 70, network.backbone.head_hidden_size) and found.dtype == torch.float16
    assert sum(looks) == 3 * 70 and not found.is_inference()
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])
    assert torch.equal(found, views(network, examples, CONFIG, alone()))
    changes = draws(CONFIG.seed, 2**31 + 1, 70)
    images = examples.batch(np.array([69]), changes, CONFIG.augmentation, CONFIG.train_size, torch.device("cpu"))
    with torch.no_grad():
        torch.testing.assert_close(found[1, 69], network.features(images)[0].half(), atol=2e-3, rtol=1e-2)


def clusters(classes: int = 4, count: int = 20) -> tuple[Tensor, np.ndarray]:
    """Two views of features that are near the middles of their classes."""
    random = torch.Generator().manual_seed(0)
    labels = np.repeat(np.arange(classes), count)
    middles = torch.randn(classes, 12, generator=random)
    return torch.stack(
        [middles[labels] + 0.5 * torch.randn(len(labels), 12, generator=random) for _ in range(2)]
    ).half(), labels


def fitted(config: TrainingConfig) -> tuple[nn.Linear, SoftTriple, float, float]:
    features, labels = clusters()
    torch.manual_seed(1)
    head, loss_of = nn.Linear(12, 8, bias=False), SoftTriple(4, 8)
    losses = []
    for act in (lambda: None, lambda: fit_head(features, labels, head, loss_of, config)):
        act()
        with torch.no_grad():
            losses.append(loss_of(head(features[0].float()), torch.from_numpy(labels)).item())
    return head, loss_of, losses[0], losses[1]


def test_head_and_centres_learn_alike_every_time() -> None:
    head, loss_of, before, after = fitted(CONFIG)
    assert after < 0.7 * before
    again = fitted(CONFIG)
    assert torch.equal(head.weight, again[0].weight) and torch.equal(loss_of.weight, again[1].weight)


def test_without_epochs_nothing_is_learnt() -> None:
    _, _, before, after = fitted(CONFIG.model_copy(update={"head_epochs": 0}))
    assert before == after


def test_every_epoch_takes_another_view() -> None:
    features, labels = clusters()
    features[1] = float("nan")
    head, loss_of = nn.Linear(12, 8, bias=False), SoftTriple(4, 8)
    fit_head(features, labels, head, loss_of, CONFIG.model_copy(update={"head_epochs": 1}))
    assert head.weight.isfinite().all()
    fit_head(features, labels, head, loss_of, CONFIG.model_copy(update={"head_epochs": 2}))
    assert head.weight.isnan().all()


def test_a_head_starts_half_way_to_whitening() -> None:
    """Its rows are the principal axes, orthogonal, of the length of a random head's; a strength of s comes out as √s."""
    features = torch.randn(1, 500, 12, generator=torch.Generator().manual_seed(0)) * torch.logspace(1, -1, 12)
    head = nn.Linear(12, 5, bias=False)
    length = head.weight.norm().item()
    start_head(features, head)
    weight = head.weight.detach()
    products = weight @ weight.T
    assert weight.norm().item() == pytest.approx(length, rel=1e-5)
    assert (products - products.diag().diag()).abs().max() < 1e-5 * products.diag().min()
    unit = nn.functional.normalize(features[0], dim=1)
    axes = nn.functional.normalize(weight, dim=1)
    strengths = (unit @ axes.T).norm(dim=0)
    outcomes = (unit @ weight.T).norm(dim=0)
    assert (strengths[:-1] > strengths[1:]).all()
    assert (outcomes / strengths.sqrt()).std() < 1e-4 * (outcomes / strengths.sqrt()).mean()


@pytest.mark.parametrize("pictures", [1, 2, 10, 60, 84])
def test_a_head_starts_from_fewer_pictures_than_features(drawings: Path, network: EmbeddingNetwork, pictures: int) -> None:
    """torch's decomposition of their features does not always end, in single or double precision."""
    config = CONFIG.model_copy(update={"views": 1})
    pixels = decode(read(drawings), Transform(size=48))[0].pixels[:pictures]
    features = views(network, of(pixels, ["a"] * pictures), config, alone())
    head = nn.Linear(features.shape[2], 128, bias=False)
    start_head(features, head)
    assert head.weight.isfinite().all()
    assert (head(features[0].float()).norm(dim=1) > 0).all()


def test_centres_start_among_their_class() -> None:
    features, labels = clusters()
    torch.manual_seed(0)
    head, loss_of = nn.Linear(12, 8, bias=False), SoftTriple(4, 8)
    start_centers(features, labels, head, loss_of, seed=0)
    with torch.no_grad():
        embeddings = nn.functional.normalize(head(features[0].float()), dim=1)
        nearest = (embeddings @ nn.functional.normalize(loss_of.weight, dim=2).flatten(0, 1).T).argmax(dim=1) // 2
    assert (nearest.numpy() == labels).mean() > 0.9
