"""Every picture is changed in its own way, whatever batch it lands in."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.augment import DRAWS, augment, draws
from training.config import Augmentation

NONE = Augmentation(
    zoom=(1, 1), aspect=1, rotation=0, shift=0, brightness=0, contrast=0, saturation=0, grey=0, erase=0
)  # fmt: skip


def pictures(count: int, size: int = 32) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))


def arrow(size: int = 48) -> Tensor:
    """Black on white, its head to the left and up."""
    y, x = np.mgrid[0:size, 0:size] / size
    shape = ((abs(x - 0.3) < 0.1) & (y > 0.1) & (y < 0.9)) | ((abs(y - 0.2) < 0.1) & (x > 0.2) & (x < 0.8))
    return torch.from_numpy(np.where(shape[..., None], 0, 255).astype(np.uint8).repeat(3, axis=2))[None]


@given(rows=st.lists(st.integers(0, 11), min_size=1, max_size=12), seed=st.integers(0, 2**32), epoch=st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_a_row_is_changed_the_same_way_in_every_batch(rows: list[int], seed: int, epoch: int) -> None:
    images, changes = pictures(12), draws(seed, epoch, 12)
    together = augment(images, changes, Augmentation(), 24)
    torch.testing.assert_close(augment(images[rows], changes[rows], Augmentation(), 24), together[rows], atol=1e-5, rtol=0)


@given(count=st.integers(1, 40), more=st.integers(0, 40), seed=st.integers(0, 2**32))
@settings(deadline=None)
def test_draws_depend_on_seed_epoch_and_row_only(count: int, more: int, seed: int) -> None:
    found = draws(seed, 3, count)
    assert found.shape == (count, DRAWS) and found.dtype == torch.float32
    assert found.min() >= 0 and found.max() < 1
    assert torch.equal(draws(seed, 3, count + more)[:count], found)
    for other in (draws(seed + 1, 3, count), draws(seed, 4, count)):
        assert not torch.equal(other, found)


def test_copies_of_a_picture_become_different_pictures() -> None:
    changed = augment(arrow().expand(16, -1, -1, -1), draws(0, 0, 16), Augmentation(), 32).flatten(1)
    assert torch.pdist(changed).min() > 1


@pytest.mark.parametrize(
    "change",
    [
        {"zoom": (0.5, 0.9)},
        {"aspect": 1.5},
        {"rotation": 20.0},
        {"shift": 0.3},
        {"brightness": 0.3},
        {"contrast": 0.5},
        {"saturation": 0.8},
        {"grey": 0.5},
        {"erase": 0.5},
    ],
)
def test_every_change_can_be_made_alone_and_each_in_its_own_measure(change: dict) -> None:
    colourful = torch.cat([arrow()] * 12).clone()
    colourful[..., 0] //= 2
    changed = augment(colourful, draws(0, 0, 12), NONE.model_copy(update=change), 48)
    distance = (changed - colourful.permute(0, 3, 1, 2) / 255).flatten(1).norm(dim=1)
    assert len(set(distance.round(decimals=4).tolist())) > 1


def test_without_changes_a_picture_stays_as_it_is() -> None:
    images = pictures(4)
    torch.testing.assert_close(augment(images, draws(0, 0, 4), NONE, 32), images.permute(0, 3, 1, 2) / 255, atol=1e-4, rtol=0)


@given(seed=st.integers(0, 2**32), size=st.integers(8, 64), high=st.floats(0.1, 3))
@settings(deadline=None, max_examples=30)
def test_values_stay_in_range(seed: int, size: int, high: float) -> None:
    wild = Augmentation(zoom=(0.05, high), aspect=4, rotation=180, shift=1, brightness=2, contrast=3, saturation=3, erase=1)
    changed = augment(pictures(6), draws(seed, 0, 6), wild, size)
    assert changed.shape == (6, 3, size, size) and changed.dtype == torch.float32
    assert changed.min() >= 0 and changed.max() <= 1


def test_nothing_is_ever_mirrored() -> None:
    """Each change of the arrow is nearer to the arrow turned a little than to any mirror image turned as far."""
    count, still = 60, {"brightness": 0, "contrast": 0, "saturation": 0, "grey": 0, "erase": 0, "shift": 0}
    options = Augmentation(zoom=(0.9, 1.1), **still)
    changed = augment(arrow().expand(count, -1, -1, -1), draws(0, 0, count), options, 32)

    def nearest(picture: Tensor) -> Tensor:
        """Distance of each change to the nearest of many turns of ``picture``."""
        turned = augment(picture.expand(300, -1, -1, -1), draws(1, 0, 300), options, 32)
        return torch.cdist(changed.flatten(1), turned.flatten(1)).min(dim=1).values

    for mirrored in (arrow().flip(1), arrow().flip(2), arrow().transpose(1, 2).flip(1, 2)):
        assert (nearest(arrow()) < nearest(mirrored)).all()
