"""Every picture is changed in its own way, whatever batch it lands in."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as reference

from training import augment as module
from training.augment import DRAWS, augment, draws
from training.config import Augmentation

NONE = Augmentation(
    zoom=(1, 1), aspect=1, rotation=0, shift=0, area=(1, 1), ratio=(1, 1),
    brightness=0, contrast=0, saturation=0, grey=0, erase=0,
)  # fmt: skip
CROP = NONE.model_copy(update={"window": "crop"})


def pictures(count: int, size: int = 32) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))


def arrow(size: int = 48) -> Tensor:
    """Black on white, its head to the left and up."""
    y, x = np.mgrid[0:size, 0:size] / size
    shape = ((abs(x - 0.3) < 0.1) & (y > 0.1) & (y < 0.9)) | ((abs(y - 0.2) < 0.1) & (x > 0.2) & (x < 0.8))
    return torch.from_numpy(np.where(shape[..., None], 0, 255).astype(np.uint8).repeat(3, axis=2))[None]


@given(
    rows=st.lists(st.integers(0, 11), min_size=1, max_size=12),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 100),
    window=st.sampled_from(["zoom", "crop"]),
    size=st.sampled_from([12, 24]),
)
@settings(deadline=None, max_examples=60)
def test_a_row_is_changed_the_same_way_in_every_batch(rows: list[int], seed: int, epoch: int, window: str, size: int) -> None:
    images, changes, aspects = pictures(12), draws(seed, epoch, 12), torch.linspace(0.2, 3, 12)
    options = Augmentation(window=window, flip=0.5)
    together = augment(images, changes, options, size, aspects)
    alone = augment(images[rows], changes[rows], options, size, aspects[rows])
    torch.testing.assert_close(alone, together[rows], atol=1e-5, rtol=0)


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
        {"flip": 0.5},
        {"window": "crop", "area": (0.2, 1)},
        {"window": "crop", "area": (0.4, 0.4), "ratio": (0.5, 1)},
    ],
)
def test_every_change_can_be_made_alone_and_each_in_its_own_measure(change: dict) -> None:
    colourful = torch.cat([arrow()] * 12).clone()
    colourful[..., 0] //= 2
    changed = augment(colourful, draws(0, 0, 12), NONE.model_copy(update=change), 48)
    distance = (changed - colourful.permute(0, 3, 1, 2) / 255).flatten(1).norm(dim=1)
    assert len(set(distance.round(decimals=4).tolist())) > 1


@pytest.mark.parametrize("options", [NONE, CROP])
def test_without_changes_a_picture_stays_as_it_is(options: Augmentation) -> None:
    images = pictures(4)
    still = images.permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(augment(images, draws(0, 0, 4), options, 32), still, atol=1e-4, rtol=0)


@pytest.mark.parametrize("options", [NONE, CROP])
def test_a_small_version_is_made_of_every_pixel(options: Augmentation) -> None:
    images = pictures(4)
    halved = torch.nn.functional.avg_pool2d(images.permute(0, 3, 1, 2) / 255, 2)
    torch.testing.assert_close(augment(images, draws(0, 0, 4), options, 16), halved, atol=1e-4, rtol=0)


@pytest.mark.parametrize("window", ["zoom", "crop"])
def test_a_change_that_is_switched_off_alters_no_other(window: str) -> None:
    images, changes = torch.cat([arrow()] * 16), draws(0, 0, 16)
    both = augment(
        images, changes, NONE.model_copy(update={"window": window, "flip": 0.5, "brightness": 0.1, "contrast": 0.2}), 48
    )
    darker = augment(images, changes, NONE.model_copy(update={"window": window, "brightness": 0.1, "contrast": 0.2}), 48)
    flipped = changes[:, module._FLIP] < 0.5
    assert flipped.any() and not flipped.all()
    torch.testing.assert_close(both, torch.where(flipped.view(-1, 1, 1, 1), darker.flip(3), darker), atol=1e-4, rtol=0)


def test_flips_come_as_often_as_was_asked() -> None:
    images = torch.cat([arrow(16)] * 2000)
    changed = augment(images, draws(0, 0, 2000), NONE.model_copy(update={"flip": 0.3}), 16)
    still = images.permute(0, 3, 1, 2) / 255
    same = torch.isclose(changed, still, atol=1e-4).flatten(1).all(dim=1)
    assert torch.isclose(changed[~same], still[~same].flip(3), atol=1e-4).all()
    assert 0.27 < 1 - same.float().mean() < 0.33


# Against the original in torchvision


def windows(count: int, options: Augmentation, aspect: float) -> np.ndarray:
    """[N, 4] float64: left, top, width and height of crops, as shares of the picture's sides."""
    (across, _, x), (_, down, y) = module._crop(draws(0, 0, count), options, torch.full((count,), aspect)).permute(1, 2, 0)
    return torch.stack([(1 + x - across) / 2, (1 + y - down) / 2, across, down], dim=1).double().numpy()


@pytest.mark.parametrize(("width", "height"), [(1500, 1000), (900, 1800), (1000, 1000), (3000, 100)])
def test_windows_are_spread_as_in_torchvision(width: int, height: int) -> None:
    count, options = 5_000, Augmentation(window="crop")
    torch.manual_seed(0)
    original = RandomResizedCrop(224, options.area, options.ratio)
    picture = torch.empty(3, height, width)
    boxes = [original.make_params([picture]) for _ in range(count)]
    theirs = np.array([[box["left"], box["top"], box["width"], box["height"]] for box in boxes]) / [
        width,
        height,
        width,
        height,
    ]
    ours = windows(count, options, width / height)
    assert (ours[:, :2] > -1e-6).all() and (ours[:, :2] + ours[:, 2:] < 1 + 1e-6).all()

    def figures(found: np.ndarray) -> np.ndarray:
        left, top, wide, high = found.T
        of_interest = np.stack([wide * high, np.log(wide / high * width / height), left, top, wide, high])
        return np.column_stack([of_interest.mean(axis=1), np.quantile(of_interest, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1).T])

    np.testing.assert_allclose(figures(ours), figures(theirs), atol=0.025)


@pytest.mark.parametrize("size", [48, 96, 192])
def test_a_window_is_what_torchvision_cuts_out(size: int) -> None:
    """Of a picture of 3:2, squeezed."""
    rough = torch.rand((1, 3, 8, 12), generator=torch.Generator().manual_seed(0))
    picture = torch.nn.functional.interpolate(rough, (200, 300), mode="bicubic").clamp(0, 1)
    square = reference.resize(picture, [200, 200], InterpolationMode.BICUBIC).mul(255).round().byte().permute(0, 2, 3, 1)
    options, aspect = CROP.model_copy(update={"area": (0.3, 0.3), "ratio": (1.25, 1.25)}), torch.tensor([1.5])
    changes = draws(3, 0, 1)
    high = (0.3 * 300 * 200 / 1.25) ** 0.5
    left, top = changes[0, module._ACROSS] * (300 - 1.25 * high), changes[0, module._DOWN] * (200 - high)
    box = [round(float(side)) for side in (top, left, high, 1.25 * high)]
    cut = reference.resized_crop(picture, *box, [size, size], InterpolationMode.BILINEAR, antialias=True)
    ours = augment(square, changes, options, size, aspect)
    assert (ours - cut).abs().mean() < 0.01 and (ours - cut).abs().max() < 0.06
    assert (ours - cut.flip(3)).abs().mean() > 0.1


def test_a_disc_stays_round_in_a_squeezed_picture() -> None:
    y, x = np.mgrid[0:120, 0:120] / 120 - 0.5
    square = torch.from_numpy(np.where(np.hypot(x * 3, y) < 0.4, 0, 255).astype(np.uint8)[None, ..., None].repeat(3, axis=3))
    options = CROP.model_copy(update={"area": (1 / 3, 1 / 3)})
    changes = torch.full((1, DRAWS), 0.5)
    hit = augment(square, changes, options, 120, torch.tensor([3.0]))[0, 0] < 0.5
    wide, high = hit.any(dim=0).sum(), hit.any(dim=1).sum()
    assert abs(int(wide) - 96) <= 2 and abs(int(high) - 96) <= 2


@given(seed=st.integers(0, 2**32), size=st.integers(8, 64), high=st.floats(0.1, 3), window=st.sampled_from(["zoom", "crop"]))
@settings(deadline=None, max_examples=30)
def test_values_stay_in_range(seed: int, size: int, high: float, window: str) -> None:
    wild = Augmentation(zoom=(0.05, high), aspect=4, rotation=180, shift=1, brightness=2, contrast=3, saturation=3, erase=1)
    wild = wild.model_copy(update={"window": window, "flip": 0.5, "area": (0.001, 1), "ratio": (0.1, high)})
    changed = augment(pictures(6), draws(seed, 0, 6), wild, size, torch.logspace(-2, 2, 6))
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
