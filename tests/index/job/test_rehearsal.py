"""What a dry run foresees is what the job then does; and it writes nothing, not even where there is nothing."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from miniatures import make_bundle, picture, write

from index import gallery as galleries
from index.job import JobError, pace, room
from index.job.rehearsal import Rehearsal, rehearse


def foresee(shop, **options) -> Rehearsal:
    return rehearse(galleries.open(shop.gallery), shop.bundle, shop.collection, **options)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_where_there_is_no_collection_none_is_made(shop):
    shop.fill(range(5))
    write(shop.gallery / "text.png", b"no picture")
    before, done = tree(shop.folder), []
    found = foresee(shop, advance=done.append)
    assert (found.found, found.read, found.new, found.changed, found.gone, sum(done)) == (6, 6, 6, 0, 0, 6)
    assert (found.unreadable, found.seconds, found.shrink) == ({}, None, "goes"), "what is in files is not known"
    assert 0 < found.needs < found.free
    assert tree(shop.folder) == before


@pytest.fixture
def changed(shop):
    """After a first run: of 30 files two new, one changed, one touched, one gone, one with other metadata, two broken; of one
    the service took the item over, and of one it took it away."""
    shop.fill(range(30))
    write(shop.gallery / "broken.png", b"no picture")
    shop.index()
    catalog = shop.catalog()
    shop.upload(catalog, "7.png", 100)
    catalog.delete("8.png")
    catalog.close()
    shop.fill([40, 41])
    write(shop.gallery / "0.png", 50)
    write(shop.gallery / "1.png", 1)
    (shop.gallery / "2.png").unlink()
    write(shop.gallery / "3.png", picture(3)[:-40])
    (shop.gallery / "labels.csv").write_text("path,name\n4.png,four\n")
    return shop


def test_what_is_foreseen_is_what_happens(changed):
    before = {path: data for path, data in tree(changed.collection).items() if "sqlite" not in path}
    found = foresee(changed)
    assert (found.found, found.read, found.new, found.changed, found.renewed) == (32, 5, 2, 3, 1)
    assert (found.gone, found.unchanged, found.owned_by_api, found.kept_deleted) == (1, 23, 1, 1)
    assert set(found.unreadable) == {"broken.png"}
    after = {path: data for path, data in tree(changed.collection).items() if "sqlite" not in path}
    assert after == before
    report = changed.index()
    assert (report.found, report.owned_by_api, report.kept_deleted) == (32, 1, 1)
    assert report.unchanged == found.unchanged + 1, "the touched one"
    assert set(report.unreadable) == {"broken.png", "3.png"}
    assert report.removed == found.gone + 1 + found.renewed, "and the changed one is replaced, as the one of other metadata"
    again = foresee(changed)
    assert (again.read, again.renewed, again.gone, set(again.unreadable)) == (0, 0, 0, {"broken.png", "3.png"})
    assert foresee(changed, max_failures=2).too_many_failures is False
    assert foresee(changed, max_failures=1).too_many_failures is True


def test_items_that_are_gone(shop):
    shop.fill(range(30))
    shop.index()
    shutil.move(shop.gallery, shop.folder / "away")
    shop.gallery.mkdir()
    assert (foresee(shop).gone, foresee(shop).shrink, foresee(shop, allow_shrink=True).shrink) == (30, "refused", "goes")
    shutil.copytree(shop.folder / "away", shop.gallery / "moved")
    assert (foresee(shop).shrink, foresee(shop).read) == ("depends", 30)
    assert shop.index().count == 30


def test_a_closed_folder_counts_as_its_items(shop, monkeypatch):
    shop.fill(range(3))
    shop.fill(range(3, 9), folder="a")
    shop.index()
    scandir = os.scandir

    def refusing(path):
        if Path(path) == shop.gallery / "a":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = foresee(shop, max_failures=5)
    assert (found.too_many_failures, found.gone, found.unchanged) == (True, 0, 3)
    with pytest.raises(JobError, match="6 files cannot be read"):
        shop.index(max_failures=5)
    assert foresee(shop, max_failures=6).too_many_failures is False


def test_a_dry_run_refuses_what_a_job_refuses(shop):
    shop.fill([1])
    (shop.folder / "file").touch()
    (shop.folder / "loop").symlink_to("loop")
    places = {"file": "is a file", "file/below": "is a file", "loop": "link that leads to itself", "gallery": "itself"}
    for run in (foresee, lambda shop, **options: shop.index(**options)):
        with pytest.raises(JobError, match="stands for what comes through the service"):
            run(shop, origin="api")
        for name, sentence in places.items():
            shop.collection = shop.folder / name
            with pytest.raises(JobError, match=sentence):
                run(shop)


def test_a_new_bundle_has_everything_read_also_of_others(shop):
    shop.fill(range(5))
    shop.index()
    catalog = shop.catalog()
    shop.upload(catalog, "uploaded", 100)
    catalog.close()
    shop.use(make_bundle(shop.folder / "bundle2", seed=2))
    found = foresee(shop)
    assert (found.read, found.changed, found.waiting, found.unchanged) == (5, 5, 1, 0)
    assert shop.index().encoded == found.read + found.waiting


def test_the_time_is_told_where_a_job_before_showed_its_pace(shop, monkeypatch):
    monkeypatch.setattr(pace, "ENOUGH", 20)
    shop.fill(range(19))
    shop.index()
    assert foresee(shop).images_per_second is None
    shop.fill(range(100, 130))
    shop.index()
    measured = pace.known(shop.collection, shop.bundle.fingerprint, "f32")
    shop.fill(range(200, 300))
    found = foresee(shop)
    assert found.images_per_second == measured > 0
    assert found.seconds > 100 / measured
    assert foresee(shop, precision="bf16").seconds is None
    shop.use(make_bundle(shop.folder / "bundle2", seed=2))
    assert foresee(shop).seconds is None
    (shop.collection / pace.FILE).write_text("{")
    assert shop.index().count == 149


def test_a_disk_that_is_too_full_is_foreseen(shop, monkeypatch):
    shop.fill(range(5))
    shop.index()
    assert foresee(shop).needs == 0
    shop.fill(range(5, 10))
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    found = foresee(shop)
    assert found.needs > found.free == 1000
    with pytest.raises(JobError, match="too full"):
        shop.index()
