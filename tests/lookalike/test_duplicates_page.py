"""The page of duplicates: whole in itself, names as they are, and what is not shown is said."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.catalog import API_ORIGIN, Catalog, Item
from index.duplicates import Cluster, Copy, Duplicates, Picture
from lookalike import duplicates as pages

ODD = "<b>&.png"


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A collection with one uploaded picture, ``there``."""
    folder = tmp_path / "my <pictures>"
    Catalog(folder, create=True).close()
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 300, 3), np.uint8)).save(data, "PNG")
    (folder / "blobs").mkdir()
    (folder / "blobs" / "there").write_bytes(data.getvalue())
    return folder


def picture(id: str = ODD, content: str = "there", size: int = 1500) -> Picture:
    return Picture(Item(1, id, API_ORIGIN, content, {}, size, 0), (300, 90))


def cluster(copies: int = 1, content: str = "there") -> Cluster:
    others = [Copy(picture(f"copy {number}", content), "same picture", 0.123) for number in range(copies)]
    return Cluster(picture(content=content), others)


def test_the_page_shows_each_cluster_and_asks_nobody(collection):
    shown = pages.page(Duplicates(12, [cluster(), cluster(2)]), collection)
    assert shown.count("<article") == 2
    assert shown.count('<img src="data:image/webp;base64,') == 5
    assert re.findall(r"<h1>(.*?)</h1>", shown) == ["3 copies of 2 pictures"]
    assert "&lt;b&gt;&amp;.png" in shown and ODD not in shown and "my &lt;pictures&gt;" in shown
    assert "same picture, differs by 0.12" in shown and "300 × 90 · 1.5 kB" in shown
    assert not re.search(r"(?:src|href)=\"(?!data:)", shown) and "url(" not in shown


def test_thumbnails_are_small_and_keep_their_shape(collection):
    shown = pages.page(Duplicates(2, [cluster()]), collection)
    assert 'width="176" height="53"' in shown


def test_what_is_left_out_is_said(collection, monkeypatch):
    monkeypatch.setattr(pages, "CLUSTERS", 2)
    monkeypatch.setattr(pages, "COPIES", 3)
    shown = pages.page(Duplicates(99, [cluster(5), cluster(), cluster(), cluster(4)]), collection)
    assert shown.count("<article") == 2
    assert "and 2 more of them" in shown
    assert "2 more clusters with 5 copies, which take 7.5 kB" in shown.replace("\n", " ")
    assert "Not shown" not in pages.page(Duplicates(99, [cluster(5), cluster()]), collection)


def test_the_page_ends_where_it_would_be_too_large(collection, monkeypatch):
    monkeypatch.setattr(pages, "BYTES", 1)
    shown = pages.page(Duplicates(99, [cluster(), cluster(), cluster()]), collection)
    assert shown.count("<article") == 1
    assert "2 more clusters" in shown


def test_a_file_that_went_meanwhile(collection):
    (collection / "blobs" / "broken").write_bytes(b"no picture")
    shown = pages.page(Duplicates(4, [cluster(content="gone"), cluster(content="broken")]), collection)
    assert shown.count("cannot be read any more") == 4


def test_unreadable_items_are_listed(collection):
    reasons = {f"{number}.png": "The file is not there any more." for number in range(103)} | {ODD: "x"}
    shown = pages.page(Duplicates(104, [], unreadable=reasons), collection)
    assert "104 could not be looked at" in shown and "And 4 more." in shown
    assert "No copies" in shown and ODD not in shown


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1536, "1.54 kB"), (99_400, "99.4 kB"), (99_600, "100 kB"),
     (999_600, "1 MB"), (2_500_000_000, "2.5 GB"), (12e15, "12000 TB")],
)  # fmt: skip
def test_sizes(number, said):
    assert pages.size(number) == said
