"""SoftTriple against its authors' own figures, and where rounding hurts."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training.losses import SoftTriple, cosines, spread

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


def test_gradients_of_all_inputs() -> None:
    torch.manual_seed(0)
    loss_of = SoftTriple(5, 4, centers=3, margin=0.1).double()
    x, y = torch.randn(6, 4, dtype=torch.float64, requires_grad=True), torch.randint(5, (6,))

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(loss_of, {"weight": weight}, (x, y))

    assert torch.autograd.gradcheck(loss, (x, loss_of.weight.detach().requires_grad_()))


@pytest.mark.parametrize("length", [1e-9, 1.0, 1e9])
def test_cosines_are_products_of_unit_vectors(length: float) -> None:
    x, centers = functional.normalize(torch.randn(3, 7), dim=1), length * torch.randn(4, 2, 7)
    to_centers, between_centers = cosines(x, centers)
    unit = functional.normalize(centers, dim=2)
    torch.testing.assert_close(to_centers, torch.einsum("bd,ckd->bck", x, unit))
    torch.testing.assert_close(between_centers, torch.einsum("cid,cjd->cij", unit, unit))


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
    nothing = weight.new_empty(0, 4)
    assert torch.autograd.gradcheck(lambda w: spread(cosines(nothing, w)[1]), weight, eps=1e-7, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("angle", [0, 1e-2, 0.3, 1.0])
def test_the_regulariser_is_the_mean_distance_of_centres(angle: float) -> None:
    weight = functional.normalize(fan(4, 3, angle), dim=2)
    chords = [math.sqrt(4 * math.sin((i - j) * angle / 2) ** 2 + 1e-5) for i in range(3) for j in range(i)]
    assert spread(weight @ weight.mT).item() == pytest.approx(sum(chords) / 3 / 2)  # eq. 8 halves the mean over pairs


def test_the_regulariser_bears_rounded_centres() -> None:
    above_one = torch.full((4, 3, 3), 1.001, requires_grad=True)
    value = spread(above_one)
    value.backward()
    assert value.isfinite() and above_one.grad.isfinite().all()


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


class Products(TorchDispatchMode):
    """Notes the types and the precision of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.dtype, str]] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if operation.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.baddbmm_):
            self.seen.append((result.dtype, torch.get_float32_matmul_precision()))
        return result


def test_autocast_and_reduced_products_change_nothing() -> None:
    loss_of = SoftTriple(50, 32, centers=3)
    loss_of.weight.data[:, 1] = 1.001 * loss_of.weight.data[:, 0]  # rounded cosines may pass 1 here
    x, y = torch.randn(16, 32, requires_grad=True), torch.randint(50, (16,))
    plain = loss_of(x, y)
    expected = torch.autograd.grad(plain, [x, loss_of.weight])
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16), Products() as products:
            reduced = loss_of(x, y)
            found = torch.autograd.grad(reduced, [x, loss_of.weight])
            assert (x @ x.T).dtype == torch.bfloat16  # outside the loss all is as before
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    *inside, outside = products.seen
    assert outside == (torch.bfloat16, "medium")
    assert len(inside) == 6 and set(inside) == {(torch.float32, "highest")}  # two forward, four backward
    assert reduced.item() == plain.item() and reduced.dtype == torch.float32
    torch.testing.assert_close(found, expected)
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
    integers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and each.is_floating_point():
                self.numbers = max(self.numbers, each.numel())
            elif isinstance(each, Tensor):
                self.integers = max(self.integers, each.numel())
        return result


@pytest.mark.parametrize("scale", [20.0, 500.0])
@pytest.mark.parametrize("same", [False, True])
def test_a_hundred_thousand_classes(scale: float, same: bool) -> None:
    classes, centers, dim = 100_000, 2, 16
    loss_of = SoftTriple(classes, dim, centers, scale)
    x = torch.randn(8, dim)
    if same:
        loss_of.weight.data[:] = 1.0
        x[::2] = 0.0
    x.requires_grad_()
    with LargestTensor() as largest:
        loss = loss_of(x, torch.randint(classes, (8,)))
        loss.backward()
    for each in (loss, x.grad, loss_of.weight.grad):
        assert each.isfinite().all()
    assert largest.numbers == classes * centers * dim  # no more than the centres themselves
    assert largest.integers <= classes  # no one-hot labels, which would be eight times as many


@pytest.mark.skipif(sys.platform != "linux", reason="measures what Linux counts")
@pytest.mark.parametrize("way", ["step", "step_of_training"])
def test_memory_of_a_step(way: str) -> None:
    """Stanford Online Products with ten centres of 512 dimensions, in a process of its own: 232 MB of centres."""
    command = [sys.executable, "-m", "bench.loss", "--run", way, "11318", "10", "512"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert 2 * 0.23 < json.loads(done.stdout)["gigabytes"] < 1.2
