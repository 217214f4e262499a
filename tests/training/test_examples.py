"""The images that are learnt from: rows of pixels, classes counted from 0, batches that depend on nothing but themselves."""

import numpy as np
import pytest
import torch

from training.augment import draws
from training.config import Augmentation
from training.examples import Examples, of

CPU = torch.device("cpu")
STILL = Augmentation(zoom=(1, 1), aspect=1, rotation=0, shift=0, brightness=0, contrast=0, saturation=0, grey=0, erase=0)


@pytest.fixture
def examples() -> Examples:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), np.uint8)
    aspects = np.linspace(0.5, 2, 8, dtype=np.float32)
    return of(pixels, ["cat", "ant", "cat", "bee", "ant"], list("pqrst"), np.array([7, 1, 3, 0, 5]), aspects)


def test_classes_are_counted_in_the_order_of_their_names(examples: Examples) -> None:
    assert len(examples) == 5
    assert examples.classes == ("ant", "bee", "cat")
    assert examples.labels.tolist() == [2, 0, 2, 1, 0] and examples.labels.dtype == np.int64


def test_without_more_all_pixels_are_examples() -> None:
    found = of(np.zeros((2, 4, 4, 3), np.uint8), ["a", "b"])
    assert found.rows.tolist() == [0, 1] and list(found.files) == ["row 0", "row 1"]


def test_a_batch_is_of_the_pixels_that_were_chosen(examples: Examples) -> None:
    images = examples.batch(np.array([2, 0]), draws(0, 0, 5), STILL, 12, CPU)
    assert images.shape == (2, 3, 12, 12) and images.dtype == torch.float32
    expected = torch.from_numpy(examples.pixels[[3, 7]]).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(images.contiguous(), expected, atol=1e-5, rtol=0)


def test_an_image_is_changed_alike_in_every_batch(examples: Examples) -> None:
    options, changes = Augmentation(window="crop"), draws(1, 2, 5)
    together = examples.batch(np.arange(5), changes, options, 8, CPU)
    for row in range(5):
        torch.testing.assert_close(examples.batch(np.array([row]), changes, options, 8, CPU)[0], together[row])


def test_some_of_them_have_classes_of_their_own(examples: Examples) -> None:
    found = examples.some(np.array([3, 0, 2]))
    assert found.classes == ("bee", "cat") and found.labels.tolist() == [0, 1, 1]
    assert found.rows.tolist() == [0, 7, 3] and list(found.files) == ["s", "p", "r"]
    changes = draws(0, 0, 5)
    expected = examples.batch(np.array([3, 0, 2]), changes, STILL, 12, CPU)
    torch.testing.assert_close(found.batch(np.arange(3), changes, STILL, 12, CPU), expected)
