"""A segment on disk: what was written comes back, and damage is told."""

import numpy as np
import pytest

from index.catalog import Item
from index.search import columns
from index.search import segment as segments
from index.search.segment import SegmentError

DIM = 8
METADATA = [{"name": "bear", "price": 3, "tags": ["a", "b"], "mixed": 1}, {"name": "Bär", "mixed": "one"}, {}]


def rows(count: int):
    vectors = np.random.default_rng(0).normal(size=(count, DIM)).astype(np.float32)
    for row, vector in enumerate(vectors):
        yield Item(10 + row, f"{row}.png", "g", "c", METADATA[row % len(METADATA)], 1, 1), vector


@pytest.fixture
def folder(tmp_path):
    segments.write(tmp_path / "1", "f", DIM, rows(3))
    return tmp_path / "1"


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_round_trip(tmp_path, count):
    folder = tmp_path / "segments" / "1"
    assert segments.write(folder, "f", DIM, rows(count)) == count
    segments.verify(folder)
    segment = segments.open(folder, "f")
    expected = list(rows(count))
    assert segment.keys.tolist() == [item.key for item, _ in expected]
    assert segment.vectors.shape == (count, DIM)
    assert np.array_equal(segment.vectors, np.array([vector for _, vector in expected]).reshape(count, DIM))
    assert segment.metadata.equals(columns.from_metadata([(item.id, item.metadata) for item, _ in expected]))
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_vectors_are_mapped_not_read(folder):
    segment = segments.open(folder, "f")
    with (folder / "vectors.f32").open("r+b") as file:
        file.write(np.float32(42).tobytes())
    assert segment.vectors[0, 0] == 42
    with pytest.raises(ValueError, match="read-only"):
        segment.vectors[0, 0] = 1


@pytest.mark.parametrize("name", ["keys.i64", "vectors.f32", "columns.arrow", "segment.json"])
def test_a_file_that_is_missing(folder, name):
    (folder / name).unlink()
    with pytest.raises(SegmentError, match="Run `lookalike index` again"):
        segments.verify(folder)


@pytest.mark.parametrize("name", ["keys.i64", "vectors.f32", "columns.arrow", "segment.json"])
def test_a_file_cut_short_does_not_open(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-8])
    with pytest.raises(SegmentError, match=r"is damaged .* Run `lookalike index` again"):
        segments.open(folder, "f")


@pytest.mark.parametrize("name", ["keys.i64", "vectors.f32", "columns.arrow"])
def test_a_flipped_bit_is_found(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(SegmentError, match=f"{name} holds something else"):
        segments.verify(folder)


def test_columns_of_other_rows_do_not_open(folder):
    columns.write(folder / "columns.arrow", [("0.png", {})])
    with pytest.raises(SegmentError, match="another number of rows"):
        segments.open(folder, "f")


def test_a_segment_of_the_format_before_is_read_and_of_one_before_that_is_built_anew(folder):
    manifest = folder / "segment.json"
    for known in (2, 1):
        manifest.write_text(manifest.read_text().replace(f'"format": {known + 1}', f'"format": {known}'))
        for use in (lambda: segments.open(folder, "f"), lambda: segments.verify(folder)):
            if known == 1:
                with pytest.raises(SegmentError, match=r"of another version .* Run `lookalike index` again"):
                    use()
            else:
                use()


def test_vectors_of_another_bundle_do_not_open(folder):
    with pytest.raises(SegmentError, match="of another bundle"):
        segments.open(folder, "g")


def test_a_segment_that_could_not_be_written_leaves_nothing(tmp_path):
    def broken():
        yield from rows(2)
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        segments.write(tmp_path / "1", "f", DIM, broken())
    assert list(tmp_path.iterdir()) == []
