"""SoftTriple against its authors' own figures, and where rounding hurts."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training.losses import SoftTriple, spread

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "softtriple_golden.npz")
CASES = sorted({name.split("_")[0] for name in GOLDEN.files})


def close(found: Tensor, expected: np.ndarray) -> bool:
    return bool(np.linalg.norm(found.numpy() - expected) <= 1e-5 * np.linalg.norm(expected))


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_the_authors(case: str) -> None:
    names = ("C", "D", "K", "la", "gamma", "tau", "margin")
    classes, dim, centers, *rest = (GOLDEN[f"{case}_{name}"].item() for name in names)
    loss_of = SoftTriple(classes, dim, centers, *rest)
    loss_of.weight.data = torch.from_numpy(GOLDEN[f"{case}_fc"].T.reshape(classes, centers, dim).copy())
    x = torch.from_numpy(GOLDEN[f"{case}_x"]).requires_grad_()
    loss = loss_of(x, torch.from_numpy(GOLDEN[f"{case}_y"]))
    loss.backward()
    assert loss.item() == pytest.approx(GOLDEN[f"{case}_loss"].item(), rel=1e-5)
    assert close(x.grad, GOLDEN[f"{case}_gx"])
    assert close(loss_of.weight.grad.flatten(0, 1).T, GOLDEN[f"{case}_gfc"])


# The regulariser


def fan(classes: int, centers: int, angle: float) -> Tensor:
    """float64 [C, K, 4]: centres of any length, each ``angle`` beside the next, in a plane of their class."""
    torch.manual_seed(0)
    planes = torch.linalg.qr(torch.randn(classes, 4, 2, dtype=torch.float64))[0]
    turns = angle * torch.arange(centers, dtype=torch.float64)
    lengths = 0.5 + torch.rand(classes, centers, 1, dtype=torch.float64)
    return lengths * (torch.stack([turns.cos(), turns.sin()], dim=1) @ planes.mT)


@pytest.mark.parametrize("centers", [2, 3, 10])
@pytest.mark.parametrize("angle", [0, 1e-4, 1e-2, 1])
def test_gradient_of_the_regulariser(centers: int, angle: float) -> None:
    weight = fan(2, centers, angle).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: spread(functional.normalize(w, dim=2)), weight, eps=1e-7, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("angle", [0, 1e-2, 0.3, 1.0])
def test_the_regulariser_is_the_mean_distance_of_centres(angle: float) -> None:
    weight = functional.normalize(fan(4, 3, angle), dim=2)
    chords = [math.sqrt(4 * math.sin((i - j) * angle / 2) ** 2 + 1e-5) for i in range(3) for j in range(i)]
    assert spread(weight).item() == pytest.approx(sum(chords) / 3 / 2)  # eq. 8 halves the mean over pairs


def test_the_regulariser_bears_rounded_centres() -> None:
    weight = (1.001 * functional.normalize(fan(4, 3, 0), dim=2)).requires_grad_()  # cosines above 1
    value = spread(weight)
    value.backward()
    assert value.isfinite() and weight.grad.isfinite().all()


def test_one_centre_has_no_regulariser() -> None:
    x, y = torch.randn(4, 8), torch.arange(4)
    for centers, same in ((1, True), (2, False)):
        loss_of = SoftTriple(6, 8, centers, tau=0.0)
        without = loss_of(x, y).item()
        loss_of.tau = 5.0
        assert (loss_of(x, y).item() == without) is same


# Initial weights


@pytest.mark.parametrize(("classes", "dim", "centers"), [(98, 64, 10), (11_318, 64, 2)])
def test_initial_weights_are_distributed_as_the_authors(classes: int, dim: int, centers: int) -> None:
    theirs = torch.nn.init.kaiming_uniform_(torch.empty(dim, classes * centers), a=math.sqrt(5))
    ours = SoftTriple(classes, dim, centers).weight.detach()
    assert ours.norm().item() == pytest.approx(theirs.norm().item(), rel=0.02)
    assert ours.norm(dim=2).mean().item() == pytest.approx(theirs.norm(dim=0).mean().item(), rel=0.02)
    levels = torch.linspace(0, 1, 11)
    torch.testing.assert_close(
        ours.flatten()[: 10**6].quantile(levels),
        theirs.flatten()[: 10**6].quantile(levels),
        atol=0.02 * theirs.max().item(),
        rtol=0,
    )


# Precision


class Watched(SoftTriple):
    """Notes the precision in which similarities are computed."""

    def similarity(self, embeddings: Tensor, centers: Tensor) -> Tensor:
        found = super().similarity(embeddings, centers)
        self.seen = (found.dtype, torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu"))
        return found


def test_autocast_and_reduced_products_change_nothing() -> None:
    loss_of = Watched(50, 32, centers=3)
    loss_of.weight.data[:, 1] = 1.001 * loss_of.weight.data[:, 0]  # rounded cosines may pass 1 here
    x, y = torch.randn(16, 32, requires_grad=True), torch.randint(50, (16,))
    plain = loss_of(x, y)
    expected = torch.autograd.grad(plain, [x, loss_of.weight])
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            reduced = loss_of(x, y)
            assert (x @ x.T).dtype == torch.bfloat16  # outside the loss all is as before
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert loss_of.seen == (torch.float32, "highest", False)
    assert reduced.item() == plain.item() and reduced.dtype == torch.float32
    torch.testing.assert_close(torch.autograd.grad(reduced, [x, loss_of.weight]), expected)
    assert loss_of(x.bfloat16(), y).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1e-20, 0.1, 1e20])
def test_identical_centres_and_embeddings_have_a_loss(dtype: torch.dtype, value: float) -> None:
    loss_of = SoftTriple(20, 8, centers=4).to(dtype)
    loss_of.weight.data[:] = value
    x = torch.full((5, 8), value, dtype=dtype, requires_grad=True)
    loss = loss_of(x, torch.arange(5))
    loss.backward()
    for each in (loss, x.grad, loss_of.weight.grad):
        assert each.isfinite().all()


class LargestTensor(TorchDispatchMode):
    numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            self.numbers = max(self.numbers, each.numel() if isinstance(each, Tensor) else 0)
        return result


@pytest.mark.parametrize("scale", [20.0, 500.0])
def test_a_hundred_thousand_classes(scale: float) -> None:
    classes, centers, dim = 100_000, 2, 16
    loss_of = SoftTriple(classes, dim, centers, scale)
    x = torch.randn(8, dim, requires_grad=True)
    with LargestTensor() as largest:
        loss = loss_of(x, torch.randint(classes, (8,)))
        loss.backward()
    for each in (loss, x.grad, loss_of.weight.grad):
        assert each.isfinite().all()
    assert largest.numbers == classes * centers * dim  # no more than the centres themselves
