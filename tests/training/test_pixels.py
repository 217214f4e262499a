"""Files become one array, in order; what cannot be read is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.transform import Transform
from training.datasets import DataError
from training.datasets.pixels import decode_all


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{value}.png" for value in range(30)]
    for value, path in enumerate(found):
        Image.new("RGB", (20, 10 + value), (value, 0, 0)).save(path)
    return found


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_rows_are_in_the_order_of_the_paths(paths: list[Path], fit: str) -> None:
    transform, heard = Transform(size=16, fit=fit), []
    pixels = decode_all(paths, transform, heard.append)
    assert pixels.shape == (30, 16, 16, 3) and pixels.dtype == np.uint8
    assert pixels[:, 8, 8, 0].tolist() == list(range(30))
    assert heard == [1] * 30
    np.testing.assert_array_equal(pixels[7], transform(paths[7].read_bytes()))


def test_every_file_that_cannot_be_read_is_named(paths: list[Path]) -> None:
    paths[3].write_bytes(paths[3].read_bytes()[:40])
    paths[8].write_text("no picture")
    paths[12].unlink()
    heard: list[int] = []
    with pytest.raises(DataError) as caught:
        decode_all(paths, Transform(size=16), heard.append)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("3 images cannot be read")
    assert [line.strip().split(": ")[0] for line in lines[1:]] == [str(paths[row]) for row in (3, 8, 12)]
    assert sum(heard) == 30


def test_no_pictures_are_an_empty_array() -> None:
    assert decode_all([], Transform(size=16)).shape == (0, 16, 16, 3)
