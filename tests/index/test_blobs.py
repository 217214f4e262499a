"""The store of uploaded pictures, and where an item's bytes are read from."""

import os
import threading

import pytest
from miniatures import content, picture

from index import blobs
from index.catalog import API_ORIGIN, Item


def item(number: int, origin: str = API_ORIGIN) -> Item:
    return Item(1, f"{number}.png", origin, content(number), {}, 1, 1)


def test_round_trip(shop):
    blobs.write(shop.collection, content(1), picture(1))
    blobs.write(shop.collection, content(1), picture(1))
    assert blobs.read(shop.collection, None, item(1)) == picture(1)
    assert blobs.read(shop.collection, None, item(2)) is None
    assert [path.name for path in (shop.collection / "blobs").iterdir()] == [content(1)]


def test_two_requests_may_bring_one_picture_at_once(shop, monkeypatch):
    fsync = os.fsync
    started = []

    def another_comes_meanwhile(handle):
        if not started:
            other = threading.Thread(target=blobs.write, args=(shop.collection, content(1), picture(1)))
            started.append(other)
            other.start()
            other.join()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", another_comes_meanwhile)
    blobs.write(shop.collection, content(1), picture(1))
    assert started
    assert blobs.read(shop.collection, None, item(1)) == picture(1)
    assert [path.name for path in (shop.collection / "blobs").iterdir()] == [content(1)]


def test_what_could_not_be_written_leaves_nothing(shop, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        blobs.write(shop.collection, content(1), picture(1))
    assert list((shop.collection / "blobs").iterdir()) == []


def test_gallery_pictures_are_read_where_they_lie(shop):
    shop.fill([1, 2])
    shop.index(origin="gallery")
    catalog = shop.catalog()
    assert blobs.read(shop.collection, catalog, item(1, "gallery")) == picture(1)
    assert blobs.read(shop.collection, catalog, item(1, "unheard of")) is None
    (shop.gallery / "1.png").unlink()
    assert blobs.read(shop.collection, catalog, item(1, "gallery")) is None
    os.mkfifo(shop.gallery / "1.png")
    assert blobs.read(shop.collection, catalog, item(1, "gallery")) is None
    catalog.close()


def test_the_first_picture_makes_the_name_of_its_folder_safe(shop, monkeypatch):
    synced = []
    monkeypatch.setattr(blobs, "sync", synced.append)
    blobs.write(shop.collection, content(1), picture(1))
    blobs.write(shop.collection, content(2), picture(2))
    assert synced == [shop.collection, shop.collection / "blobs", shop.collection / "blobs"]
