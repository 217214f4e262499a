"""Files become one array, in order; what cannot be read is told by its row."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.image import decode
from model.transform import Transform
from training.datasets import DataError
from training.datasets.check import decode as decode_all
from training.datasets.labels import Dataset
from training.datasets.memory import open_store
from training.datasets.pixels import Squeeze, digest, look

SMALL = Transform(size=16)
COUNT = 70  # more than a thread takes at a time


def dataset(root: Path, names: list[str], **columns: list[str]) -> Dataset:
    table = {"path": names, "label": ["cat"] * len(names), "split": ["train"] * len(names), **columns}
    return Dataset(root, table, range(1, len(names) + 1))


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    found = [f"{value}.png" for value in range(COUNT)]
    for value, name in enumerate(found):
        Image.new("RGB", (20, 10 + value), (value, 0, 0)).save(tmp_path / name)
    return found


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_rows_are_in_the_order_of_the_table(names: list[str], fit: str, tmp_path: Path) -> None:
    transform, heard = Transform(size=16, fit=fit), []
    found = look(dataset(tmp_path, names), transform, heard.append)
    assert found.pixels.shape == (COUNT, 16, 16, 3) and found.pixels.dtype == np.uint8
    assert found.pixels[:, 8, 8, 0].tolist() == list(range(COUNT))
    assert heard == [1] * COUNT
    file = (tmp_path / names[7]).read_bytes()
    np.testing.assert_array_equal(found.pixels[7], transform(file))
    assert found.contents[7] == hashlib.sha256(file).hexdigest()
    assert found.faults == {}


def test_every_file_that_cannot_be_read_is_told(names: list[str], tmp_path: Path) -> None:
    (tmp_path / names[3]).write_bytes((tmp_path / names[3]).read_bytes()[:40])
    (tmp_path / names[8]).write_text("no picture")
    (tmp_path / names[12]).unlink()
    (tmp_path / names[40]).unlink()
    (tmp_path / names[40]).mkdir()
    names[41], names[42], names[43] = "a\0b.png", "x" * 999, "\ud800.png"
    heard: list[int] = []
    found = look(dataset(tmp_path, names), SMALL, heard.append)
    assert {row: kind for row, (kind, _) in found.faults.items()} == {
        3: "unreadable-image",
        8: "unreadable-image",
        12: "missing-file",
        40: "unreadable-image",
        41: "unreadable-image",
        42: "unreadable-image",
        43: "unreadable-image",
    }
    assert found.faults[12][1] == "12.png: the file does not exist"
    assert "is not a JPEG" in found.faults[8][1] and "Is a directory" in found.faults[40][1]
    assert [found.contents[row] for row in found.faults] == [""] * 7
    assert not found.pixels[list(found.faults)].any()
    assert len(heard) == COUNT


def test_no_pictures_are_an_empty_array(tmp_path: Path) -> None:
    assert look(dataset(tmp_path, []), SMALL).pixels.shape == (0, 16, 16, 3)


def test_more_than_fits_in_memory_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 images of 10000000 × 10000000 pixels need 600,000 GB of memory"):
        look(dataset(tmp_path, ["1.png", "2.png"]), Transform(size=10**7))


def test_pixels_in_a_file_are_those_in_memory(names: list[str], tmp_path: Path) -> None:
    data, store = dataset(tmp_path, names), tmp_path / "run" / "pixels.npy"
    found, _ = decode_all(data, SMALL, store=store)
    expected = look(data, SMALL)
    assert isinstance(found.pixels, np.memmap)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    np.testing.assert_array_equal(open_store(store, COUNT, 16), expected.pixels)
    assert digest(data, found) == digest(data, expected)


def test_pictures_that_are_refused_leave_no_file(names: list[str], tmp_path: Path) -> None:
    store = tmp_path / "run" / "pixels.npy"
    with pytest.raises(DataError, match=r"gone\.png: the file does not exist"):
        decode_all(dataset(tmp_path, [*names, "gone.png"]), SMALL, store=store)
    assert not list(store.parent.iterdir())


def test_a_folder_that_vanishes_is_one_sentence(names: list[str], tmp_path: Path) -> None:
    data, store = dataset(tmp_path / "data", names), tmp_path / "pixels.npy"
    for name in names:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "data" / name)
    with pytest.raises(DataError) as caught:
        decode_all(data, SMALL, lambda _: shutil.rmtree(data.root, ignore_errors=True), store)
    assert str(caught.value) == f"{data.root} is gone. Bring the folder back, and start again."
    assert not list(tmp_path.iterdir())


def test_the_digest_changes_with_labels_splits_pictures_and_their_order(names: list[str], tmp_path: Path) -> None:
    names = names[:4]
    data, kinds = dataset(tmp_path, names), ["a", "a", "b", "b"]
    others = [
        dataset(tmp_path, names, label=kinds),
        dataset(tmp_path, names, split=["train", "train", "test", "train"]),
        dataset(tmp_path, names[::-1]),
        dataset(tmp_path, names[:3]),
        dataset(tmp_path, names, box=["", "", "", "0,0,5,5"]),
    ]
    found = [digest(each, look(each, None)) for each in (data, *others)]
    shutil.copy(tmp_path / names[0], tmp_path / "renamed.png")
    renamed = dataset(tmp_path, ["renamed.png", *names[1:]])
    assert digest(renamed, look(renamed, SMALL)) == found[0]
    shutil.copy(tmp_path / names[1], tmp_path / names[0])
    assert len({*found, digest(data, look(data, None))}) == 7


def test_whole_pictures_are_squeezed_and_keep_their_aspect(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    for name, size in (("wide.png", (300, 200)), ("tall.jpg", (500, 1500)), ("square.png", (40, 40))):
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(tmp_path / name)
    data = dataset(tmp_path, ["wide.png", "tall.jpg", "square.png", "wide.png"], box=["", "", "", "0,0,50,200"])
    found = look(data, Squeeze(64))
    assert found.pixels.shape == (4, 64, 64, 3) and found.aspects.dtype == np.float32
    np.testing.assert_allclose(found.aspects, [1.5, 1 / 3, 1, 1 / 4], rtol=0.01)
    expected = np.asarray(Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC), np.float32)
    assert abs(found.pixels[:3] - expected).mean(axis=(1, 2, 3)).max() < 5
    assert look(data, SMALL).aspects.tolist() == look(data, None).aspects.tolist() == [1] * 4
    np.testing.assert_array_equal(found.previews, look(data, Transform(size=64)).previews)


# Boxes

WIDTH, HEIGHT = 40, 30


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return tmp_path


def test_only_the_box_is_seen(noise: Path) -> None:
    boxes = ["", "3,4,23,29", "[0, 0, 40, 30]", "39,29,40,30"]
    found = look(dataset(noise, ["noise.png"] * 4, box=boxes), SMALL)
    picture = decode((noise / "noise.png").read_bytes())
    by_hand = [picture, picture.crop((3, 4, 23, 29)), picture, picture.crop((39, 29, 40, 30))]
    np.testing.assert_array_equal(found.pixels, [SMALL.apply(part) for part in by_hand])
    assert len(set(found.contents)) == 4


def test_a_box_of_a_turned_jpeg_is_in_pixels_of_the_upright_picture(tmp_path: Path) -> None:
    upright = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    found = look(dataset(tmp_path, ["turned.jpg"] * 2, box=["25,2,40,22", "2,25,22,40"]), SMALL)
    picture = decode((tmp_path / "turned.jpg").read_bytes())
    assert picture.size == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(found.pixels[0], SMALL.apply(picture.crop((25, 2, 40, 22))))
    assert {row: kind for row, (kind, _) in found.faults.items()} == {1: "box-outside"}


@pytest.mark.parametrize("box", ["-1,0,9,9", "0,-1,9,9", "0,0,41,9", "0,0,9,31", "0,0,40.5,9", "0,0,inf,9", "90,90,99,99"])
def test_a_box_that_leaves_the_picture_is_told(box: str, noise: Path) -> None:
    found = look(dataset(noise, ["noise.png"], box=[box]), SMALL)
    assert found.faults == {0: ("box-outside", f"noise.png: the box {box} leaves the picture of 40 × 30 pixels")}


def test_equal_boxes_are_equal_content_however_they_are_written(noise: Path) -> None:
    found = look(dataset(noise, ["noise.png"] * 2, box=["1,2,30,20", "[1.0, 2, 30, 20]"]), SMALL)
    assert found.contents[0] == found.contents[1] != ""
