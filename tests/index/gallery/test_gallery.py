"""What of a folder becomes a picture of the gallery, and what is said about the rest."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import gallery
from index.gallery import Entry, GalleryError, Unreadable
from model.image import SUFFIXES


def scan(root: Path, skip: Path | None = None):
    return gallery.open(root).scan(skip)


def count(root: Path, skip: Path | None = None) -> int | None:
    return gallery.open(root).count(skip)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def ids(root: Path, **options) -> list[str]:
    return [found.id for found in scan(root, **options)]


def unreadable(root: Path) -> dict[str, str]:
    return {found.id: found.reason for found in scan(root) if isinstance(found, Unreadable)}


def test_the_id_is_the_path_below_the_gallery(tmp_path):
    touch(tmp_path, "b.png", "a/x.JPEG", "a/b/y.webp")
    assert ids(tmp_path) == ["b.png", "a/x.JPEG", "a/b/y.webp"]
    entry = next(iter(scan(tmp_path)))
    stat = (tmp_path / "b.png").stat()
    assert entry == Entry("b.png", 1, stat.st_mtime_ns, {}, "")


def test_what_is_hidden_or_no_picture_is_passed_over(tmp_path):
    touch(tmp_path, "a.png", ".b.png", ".hidden/c.png", "d.txt", "png", "labels.csv.png", "e.png.part")
    assert ids(tmp_path) == ["a.png", "labels.csv.png"]


def test_a_folder_may_be_called_like_a_picture(tmp_path):
    touch(tmp_path, "folder.png/a.png")
    assert ids(tmp_path) == ["folder.png/a.png"]


def test_the_collection_in_the_gallery_is_passed_over(tmp_path):
    touch(tmp_path, "a.png", "pics.lookalike/blobs/b.png", "pics/c.png")
    assert ids(tmp_path, skip=tmp_path / "pics.lookalike") == ["a.png", "pics/c.png"]
    assert count(tmp_path, skip=tmp_path / "pics.lookalike") == 2


def test_links(tmp_path):
    touch(tmp_path / "elsewhere", "a.png")
    root = tmp_path / "gallery"
    root.mkdir()
    (root / "file.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "up").symlink_to(root)
    (root / "nowhere.png").symlink_to("gone.png")
    (root / "loop.png").symlink_to("loop.png")
    assert ids(root) == ["file.png", "loop.png", "nowhere.png"]
    assert set(unreadable(root)) == {"loop.png", "nowhere.png"}
    assert "No such file" in unreadable(root)["nowhere.png"]


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").symlink_to(tmp_path.parent)
    assert set(unreadable(tmp_path)) == {"pipe.png", "folder.png"}


def test_names_that_are_not_utf8_are_listed_and_nothing_else_is_lost(tmp_path):
    touch(tmp_path, "ok.png", "ü.png", os.fsdecode(b"\xff.png"), os.fsdecode(b"\xfe/a.png"))
    assert set(unreadable(tmp_path)) == {"\\xff.png", "\\xfe/a.png"}
    assert {found.id for found in scan(tmp_path) if isinstance(found, Entry)} == {"ok.png", "ü.png"}
    assert all(id.encode() for id in ids(tmp_path))


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    """A path longer than the system takes is a fault that not even root may ignore."""
    touch(tmp_path, "a.png")
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        folder, parent = os.open("d" * 250, os.O_RDONLY, dir_fd=folder), folder
        os.close(parent)
    os.close(folder)
    first, closed = scan(tmp_path)
    assert first.id == "a.png"
    assert closed.id.endswith("ddd/")
    assert "The folder cannot be read" in closed.reason
    assert count(tmp_path) == 2


def test_a_gallery_that_is_not_there(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(GalleryError, match="is not a folder, nor a list"):
            gallery.open(root)
    for name in ("x" * 300, "y/" * 2100, "a\0b"):
        with pytest.raises(GalleryError, match=r"cannot be read|is not a folder"):
            gallery.open(tmp_path / name)
    (tmp_path / "gone").mkdir()
    found = gallery.open(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for look in (found.count, lambda: next(found.scan())):
        with pytest.raises(GalleryError, match="cannot be read"):
            look()


def test_names_that_look_alike_are_names_of_their_own(tmp_path):
    """No folding of case, no normalising: NFC and NFD are two names."""
    names = ["A.png", "a b.png", "a.PNG", "a.png", "e\u0301.png", "\u00e9.png", "n" * 251 + ".png"]
    touch(tmp_path, *names)
    assert ids(tmp_path) == sorted(names)


def test_labels_give_metadata(tmp_path):
    touch(tmp_path, "a/1.png", "2.png")
    (tmp_path / "labels.csv").write_text(
        '\ufeffpath,name,style\r\na/1.png,\'tis an "a",\r\n2.png,two,flat,more\r\nnot-there.png,x,y\r\n', encoding="utf-8"
    )
    assert {found.id: found.metadata for found in scan(tmp_path)} == {
        "a/1.png": {"name": '\'tis an "a"'},
        "2.png": {"name": "two", "style": "flat"},
    }


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (b"file,name\na.png,b\n", "has no column named path"),
        (b"", "has no column named path"),
        (b"path,name\na.png,\xff\n", "cannot be read as UTF-8 CSV"),
        (b'path,name\na.png,"b\nc.png,d\n', "a quote is missing"),
        (b'path,name\na.png,"5" wide\n', "goes on after the quote"),
        (b"path,name\na.png," + b"x" * 200_000 + b"\n", "cannot be read as UTF-8 CSV"),
    ],
)
def test_labels_that_cannot_be_read_stop_it(tmp_path, labels, sentence):
    touch(tmp_path, "a.png")
    (tmp_path / "labels.csv").write_bytes(labels)
    with pytest.raises(GalleryError, match=sentence):
        ids(tmp_path)


NAMES = st.text("ab.é \n%?", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
FILES = st.tuples(st.lists(NAMES, max_size=3), NAMES, st.sampled_from([*SUFFIXES, ".PNG", ".txt", ""]))


@settings(max_examples=60, deadline=None)
@given(files=st.lists(FILES, max_size=12))
def test_count_tells_what_scan_finds(files, tmp_path_factory):
    root = tmp_path_factory.mktemp("gallery")
    for parts, stem, suffix in files:
        path = root.joinpath(*parts, stem + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    expected = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file()
        and path.name.lower().endswith(tuple(SUFFIXES))
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
    found = ids(root)
    assert set(found) == expected
    assert len(found) == len(expected) == count(root)
    assert found == ids(root)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (["10", "-3", "", "0"], [10, -3, None, 0]),
        (["2.50", "3", "", "-0.5"], [2.5, 3, None, -0.5]),
        (["10", "n/a", "", "7"], ["10", "n/a", None, "7"]),
        (["007", "8", "9", "1"], ["007", "8", "9", "1"]),
        (["1e5", "1", "2", "3"], ["1e5", "1", "2", "3"]),
        (["+3", "1", "2", "3"], ["+3", "1", "2", "3"]),
        (["1.", ".5", "2", "3"], ["1.", ".5", "2", "3"]),
        (["1234567890123456", "1", "2", "3"], ["1234567890123456", "1", "2", "3"]),
        (["", "", "", ""], [None] * 4),
        (["true", "1", "٣", "3"], ["true", "1", "٣", "3"]),
    ],
)
def test_a_column_of_numbers_becomes_numbers(tmp_path, column, values):
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("path,size\n" + "".join(f"{n}.png,{text}\n" for n, text in enumerate(column)))
    found = [entry.metadata.get("size") for entry in scan(tmp_path)]
    assert found == values
