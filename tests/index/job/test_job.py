"""A gallery that changes, and what a job makes of it: encode once, read once, lose nothing, say what it could not read."""

import os
import shutil
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from miniatures import CountingEncoder, content, make_bundle, picture, write

from index import blobs
from index import generation as generations
from index.catalog import Catalog, DiskFull, Known, NewItem, content_of
from index.gallery import GalleryError, ReadError, Unreachable, files
from index.job import JobError, reading, room
from index.job import job as jobs
from index.lifecycle.publish import PublishError
from index.lock import Busy
from index.search import planner, segment
from index.search.planner import Aim
from model import Failure
from model import bundle as bundles


def names(numbers) -> set[str]:
    return {f"{number}.png" for number in numbers}


def spoil(path: Path) -> None:
    """Other bytes, the same size and time: who notices has read the file."""
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))


def closed(monkeypatch, folder: Path) -> None:
    """A folder that cannot be listed, for root too."""
    scandir = os.scandir

    def refusing(path):
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def segments(shop) -> list[str]:
    catalog = shop.catalog()
    number = catalog.state().generation
    catalog.close()
    return generations.read(shop.collection, number).segments


def leftovers(shop) -> list[str]:
    """Files of the collection that its current generation and the two before do not need."""
    numbers = sorted((int(file.stem) for file in (shop.collection / "generations").iterdir()), reverse=True)
    named = {name for number in numbers[:3] for name in generations.read(shop.collection, number).segments}
    stray = {folder.name for folder in (shop.collection / "segments").iterdir()} - named
    drafts = [path.name for path in shop.collection.rglob("*.tmp")]
    return [*stray, *drafts, *map(str, numbers[3:])]


# --- runs ---


def test_the_first_run(shop):
    shop.fill(range(5))
    shop.fill([5], folder="a/b")
    (shop.gallery / "labels.csv").write_text("path,name\n3.png,three\n")
    done = []
    report = shop.index(advance=done.append)
    assert (report.found, report.added, report.encoded, report.count, report.generation) == (6, 6, 6, 6, 1)
    assert (report.removed, report.unchanged, report.pending, report.unreadable) == (0, 0, 0, {})
    assert sum(done) == 6
    found = shop.found(3)
    assert set(found) == names(range(5)) | {"a/b/5.png"}
    first = next(iter(found.values()))
    assert (first.id, first.metadata, first.content) == ("3.png", {"name": "three"}, content(3))
    assert first.origin == str(shop.gallery)


def test_an_empty_gallery_is_a_collection_too(shop):
    assert shop.index().count == 0
    assert shop.found() == {}
    shop.fill([1])
    assert shop.index().count == 1
    assert set(shop.found()) == {"1.png"}


def test_the_second_run_encodes_nothing_and_reads_nothing(shop):
    shop.fill(range(5))
    shop.index()
    for file in shop.gallery.iterdir():
        spoil(file)
    report = shop.index()
    assert (report.found, report.unchanged, report.encoded, report.added, report.removed) == (5, 5, 0, 0, 0)
    assert (report.generation, report.unreadable) == (1, {})
    assert shop.encoder.encoded == 5


def test_changed_renamed_removed_twin_and_touched_files(shop):
    shop.fill(range(30))
    shop.index()
    write(shop.gallery / "0.png", 100)  # changed
    (shop.gallery / "1.png").rename(shop.gallery / "renamed.png")
    (shop.gallery / "2.png").unlink()
    write(shop.gallery / "twin.png", 3)
    write(shop.gallery / "4.png", 4)  # touched
    report = shop.index()
    assert (report.added, report.removed, report.encoded, report.unchanged, report.count) == (3, 3, 1, 27, 30)
    found = shop.found()
    assert set(found) == names(range(30)) - names([1, 2]) | {"renamed.png", "twin.png"}
    assert found["0.png"].content == content(100)
    again = shop.index()
    assert (again.unchanged, again.encoded, again.generation) == (30, 0, report.generation)
    assert set(shop.encoder.images.values()) == {1}, "a picture was encoded twice"


def test_files_with_the_same_bytes_are_encoded_once(shop, monkeypatch):
    monkeypatch.setattr(jobs, "BATCH", 2)
    for name in "abcde":
        write(shop.gallery / f"{name}.png", 1)
    report = shop.index()
    assert (report.added, report.encoded, report.count) == (5, 1, 5)
    assert list(shop.found()) == ["a.png", "b.png", "c.png", "d.png", "e.png"]


def test_new_metadata_is_neither_encoded_nor_read(shop):
    shop.fill(range(3))
    shop.index()
    (shop.gallery / "labels.csv").write_text("path,name\n1.png,one\n")
    spoil(shop.gallery / "1.png")
    report = shop.index()
    assert (report.added, report.removed, report.unchanged, report.encoded) == (1, 1, 2, 0)
    assert shop.found()["1.png"].metadata == {"name": "one"}
    assert shop.index().unchanged == 3
    (shop.gallery / "labels.csv").unlink()
    shop.index()
    assert shop.found()["1.png"].metadata == {}


def test_a_file_that_changes_while_it_is_read_is_read_again(shop):
    shop.fill([1])
    transform = shop.encoder.transform

    def slow(data):
        write(shop.gallery / "1.png", 2)
        return transform(data)

    shop.encoder.transform = slow
    shop.index()
    shop.encoder.transform = transform
    assert shop.found()["1.png"].content == content(1)
    assert shop.index().encoded == 1
    assert shop.found()["1.png"].content == content(2)


# --- what cannot be read ---


def test_unreadable_files_are_listed_and_tried_again_only_when_they_change(shop):
    shop.fill(range(2))
    write(shop.gallery / "text.png", b"no picture")
    write(shop.gallery / "cut.png", picture(5)[:-40])
    write(shop.gallery / "empty.png", b"")
    first = shop.index()
    assert set(first.unreadable) == {"text.png", "cut.png", "empty.png"}
    assert (first.found, first.added, first.count) == (5, 2, 2)
    decoded = []
    transform = shop.encoder.transform
    shop.encoder.transform = lambda data: decoded.append(data) or transform(data)
    assert shop.index().unreadable == first.unreadable
    assert decoded == []
    write(shop.gallery / "cut.png", 5)
    (shop.gallery / "text.png").unlink()
    healed = shop.index()
    assert set(healed.unreadable) == {"empty.png"}
    assert decoded == [picture(5)]
    assert set(shop.found()) == {"0.png", "1.png", "cut.png"}
    assert shop.index().unreadable == healed.unreadable


def test_a_file_that_breaks_keeps_its_last_good_version(shop):
    shop.fill(range(3))
    shop.index()
    write(shop.gallery / "1.png", picture(1)[:-40])
    (shop.gallery / "2.png").unlink()
    (shop.gallery / "2.png").symlink_to("gone.png")
    reports = [shop.index(), shop.index()]
    decoded = []
    shop.encoder.transform = decoded.append
    reports.append(shop.index())
    for report in reports:
        assert set(report.unreadable) == {"1.png", "2.png"}
        assert (report.unchanged, report.removed, report.count) == (1, 0, 3)
    assert decoded == []
    assert shop.found()["1.png"].content == content(1)


def test_a_read_error_is_no_verdict_on_the_file(shop, monkeypatch):
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs /proc for a file that opens and does not read")
    shop.fill([1])
    (shop.gallery / "2.png").symlink_to("/proc/self/mem")
    assert shop.index().unreadable == {"2.png": "The file cannot be read (Input/output error)."}
    catalog = shop.catalog()
    (fault,) = catalog.quarantined(str(shop.gallery)).values()
    catalog.close()
    stat = (shop.gallery / "2.png").stat()
    assert (fault.size, fault.mtime_ns) != (stat.st_size, stat.st_mtime_ns), "it would not be tried again"


def test_too_large_a_file(shop, monkeypatch):
    shop.fill([1, 2])
    monkeypatch.setattr(files, "MAX_FILE", 100)
    assert list(shop.index().unreadable.values()) == ["The file has more than 100 bytes, which is the limit."] * 2
    monkeypatch.undo()
    assert shop.index().count == 2


def test_a_closed_folder_keeps_its_items(shop, monkeypatch):
    shop.fill(range(3))
    shop.fill(range(3, 9), folder="a/b")
    shop.fill([9], folder="a/bc")
    shop.index()
    closed(monkeypatch, shop.gallery / "a" / "b")
    report = shop.index()
    assert report.unreadable == {"a/b/": "The folder cannot be read (Permission denied). What was in it is kept."}
    assert (report.removed, report.count) == (0, 10)
    monkeypatch.undo()
    again = shop.index()
    assert (again.unreadable, again.unchanged) == ({}, 10)


def test_a_gallery_that_cannot_be_listed(shop, monkeypatch):
    shop.fill(range(3))
    shop.index()
    closed(monkeypatch, shop.gallery)
    with pytest.raises(GalleryError, match="Permission denied"):
        shop.index()
    assert len(shop.found()) == 3


@pytest.mark.parametrize("items", [5, 40])
def test_a_gallery_that_is_suddenly_empty_is_refused(shop, items):
    shop.fill(range(items))
    shop.index()
    shutil.move(shop.gallery, shop.folder / "away")
    shop.gallery.mkdir()
    with pytest.raises(JobError, match=rf"{items} of the {items} items .* disk mounted\? .* --allow-shrink"):
        shop.index()
    assert len(shop.found()) == items
    assert shop.index(allow_shrink=True).count == 0
    assert shop.found() == {}
    shop.gallery.rmdir()
    shutil.move(shop.folder / "away", shop.gallery)
    report = shop.index()
    assert (report.count, report.encoded) == (items, 0)


def test_a_fifth_may_go_and_everything_may_move(shop):
    shop.fill(range(50))
    shop.index()
    for number in range(10):
        (shop.gallery / f"{number}.png").unlink()
    assert shop.index().count == 40
    (shop.gallery / "moved").mkdir()
    for file in shop.gallery.glob("*.png"):
        file.rename(shop.gallery / "moved" / file.name)
    report = shop.index()
    assert (report.added, report.removed, report.encoded) == (40, 40, 0)
    for number in range(10, 19):
        (shop.gallery / "moved" / f"{number}.png").unlink()
    with pytest.raises(JobError, match="9 of the 40 items"):
        shop.index()


# --- the service's part ---


def test_put_takes_over_and_delete_is_honoured(shop):
    shop.fill(range(5))
    shop.index()
    catalog = shop.catalog()
    shop.upload(catalog, "1.png", 100, {"by": "hand"})
    shop.upload(catalog, "extra.png", 101)
    catalog.delete("2.png")
    write(shop.gallery / "1.png", 102)
    report = shop.index()
    assert (report.owned_by_api, report.kept_deleted, report.unchanged, report.count) == (1, 1, 3, 5)
    assert (report.added, report.removed, report.encoded) == (0, 0, 0)
    found = shop.found()
    assert set(found) == names([0, 1, 3, 4]) | {"extra.png"}
    assert (found["1.png"].content, found["1.png"].metadata) == (content(100), {"by": "hand"})

    write(shop.gallery / "2.png", 2)  # touched, the same picture
    assert shop.index().kept_deleted == 1
    spoil(shop.gallery / "2.png")
    assert shop.index().kept_deleted == 1, "it was read though it had not changed"
    write(shop.gallery / "2.png", 103)
    assert (shop.index().kept_deleted, shop.found()["2.png"].content) == (0, content(103))
    catalog.close()


def test_what_the_service_changes_meanwhile_stays(shop, monkeypatch):
    monkeypatch.setattr(jobs, "BATCH", 4)
    shop.fill(range(40))
    shop.index()
    for number in range(40):
        write(shop.gallery / f"{number}.png", 100 + number)
    catalog = shop.catalog()
    calls = []

    def meanwhile():
        calls.append(None)
        if len(calls) == 5:
            for number in (0, 18, 39):  # committed, being encoded, not yet looked at
                catalog.delete(f"{number}.png")
            for number in (1, 17, 38):
                shop.upload(catalog, f"{number}.png", 200 + number)

    shop.encoder.meanwhile = meanwhile
    report = shop.index()
    assert len(calls) == 10
    shop.encoder.meanwhile = lambda: None
    found = {id: item.content for id, item in shop.found().items()}
    put = {f"{number}.png": content(200 + number) for number in (1, 17, 38)}
    rest = {f"{number}.png": content(100 + number) for number in range(40)} | put
    for gone in ("0.png", "18.png", "39.png"):
        assert found.pop(gone, content(100 + int(gone[:-4]))) == rest.pop(gone)  # the new file came, or will with the next run
    assert found == rest
    assert report.count == catalog.count() == len(shop.found())
    shop.index()
    assert len(shop.found()) == 40
    catalog.close()


@pytest.mark.parametrize("later", [False, True])
def test_what_is_put_while_the_segment_is_made_is_found(shop, monkeypatch, later):
    """Just before or just after the keys of the new generation are read."""
    shop.fill(range(3))
    shop.index()
    shop.fill([3])
    catalog, live_keys = shop.catalog(), Catalog.live_keys

    def put_meanwhile(self, **given):
        if given.keys() != {"job"}:
            return live_keys(self, **given)
        keys = live_keys(self, **given) if later else None
        shop.upload(catalog, "x", 100)
        catalog.delete("0.png")
        return keys if later else live_keys(self, **given)

    monkeypatch.setattr(Catalog, "live_keys", put_meanwhile)
    shop.index()
    assert set(shop.found()) == names([1, 2, 3]) | {"x"}
    catalog.close()


def test_two_galleries_may_not_claim_an_id(shop):
    shop.fill([1, 2])
    other = shop.folder / "other"
    write(other / "2.png", 20)
    write(other / "3.png", 30)
    shop.index()
    report = shop.index(other)
    assert set(report.unreadable) == {"2.png"}
    assert f"belongs to the gallery {shop.gallery} already" in report.unreadable["2.png"]
    found = shop.found()
    assert {id: item.origin for id, item in found.items()} == {
        "1.png": str(shop.gallery),
        "2.png": str(shop.gallery),
        "3.png": str(other),
    }
    assert found["2.png"].content == content(2)
    (shop.gallery / "2.png").unlink()
    assert (shop.index().removed, shop.index().removed) == (1, 0)
    report = shop.index(other)
    assert (report.unreadable, report.added) == ({}, 1)
    assert shop.found()["2.png"].content == content(20)


def test_a_named_gallery_may_move(shop):
    shop.fill(range(3))
    shop.index(origin="shop")
    moved = shop.folder / "moved"
    shop.gallery.rename(moved)
    report = shop.index(moved, origin="shop")
    assert (report.unchanged, report.encoded, report.generation) == (3, 0, 1)
    assert shop.index(moved).unreadable.keys() == names(range(3)), "without its name it is another gallery"


# --- generations ---


def test_small_changes_add_a_segment_and_large_ones_merge(shop):
    shop.fill(range(100))
    shop.index()
    base = segments(shop)
    shop.fill(range(100, 104))
    shop.index()
    assert (len(segments(shop)), segments(shop)[:1]) == (2, base)
    shop.fill(range(104, 108))
    shop.index()
    assert (len(segments(shop)), segments(shop)[:1]) == (2, base), "what came since is one segment, whatever the number of runs"
    (shop.gallery / "0.png").unlink()
    kept = segments(shop)
    shop.index()
    assert segments(shop) == kept, "a removal alone writes no vectors"
    shop.fill(range(108, 112))
    shop.index()
    assert (len(segments(shop)), set(segments(shop)) & set(base)) == (1, set())
    assert set(shop.found()) == names(range(1, 112))


def test_an_index_is_made_anew_where_more_is_asked_of_it(shop, monkeypatch):
    monkeypatch.setattr(planner, "_EXACT_BELOW", 0)
    shop.fill(range(60))
    (flat,) = shop.index(aim=Aim(1.0)).indexes
    assert flat["factory"] == "Flat" and flat["tried"] == []
    encoded = shop.encoder.encoded
    first = shop.index(aim=Aim(0.95))
    assert first.generation == 2 and first.indexes[0]["factory"] == "HNSW24_SQ8_direct_signed"
    catalog = shop.catalog()
    assert next(iter(shop.look(shop.searcher(catalog), 7))) == "7.png"
    catalog.close()
    assert shop.index(aim=Aim(0.95)).generation == 2
    assert shop.index(aim=Aim(0.9)).generation == 2
    more = shop.index(aim=Aim(0.99))
    assert more.generation > 2 and more.indexes[0]["factory"] == "HNSW32_SQ8_direct_signed" and more.indexes[0]["asked"] == 0.99
    assert shop.index(aim=Aim(0.95)).generation == more.generation
    assert shop.encoder.encoded == encoded, "vectors are made once"
    assert set(shop.found()) == names(range(60))


def test_what_the_service_brought_moves_into_a_segment(shop):
    shop.fill(range(30))
    shop.index()
    catalog = shop.catalog()
    shop.upload(catalog, "x", 100)
    report = shop.index()
    searcher = shop.searcher(catalog)
    assert (report.generation, len(searcher.generation.segments), len(searcher._parts.live.keys)) == (2, 2, 0)
    assert next(iter(shop.look(searcher, 100))) == "x"
    catalog.close()


def test_a_new_bundle_takes_everything_along(shop):
    shop.fill(range(30))
    write(shop.gallery / "broken.png", b"no picture")
    shop.index()
    catalog = shop.catalog()
    shop.upload(catalog, "uploaded", 100)
    shop.upload(catalog, "bytes are lost", 101)
    (shop.collection / "blobs" / content(101)).unlink()
    old = shop.searcher(catalog)
    before = list(shop.look(old))
    old_encoder = shop.encoder

    shop.use(make_bundle(shop.folder / "bundle2", seed=2))
    report = shop.index()
    assert (report.encoded, report.added, report.removed, report.pending, report.count) == (31, 0, 0, 1, 32)
    new = shop.searcher(catalog)
    assert new.generation.fingerprint == shop.bundle.fingerprint != old.generation.fingerprint
    assert set(shop.look(new)) == set(before) - {"bytes are lost"}
    assert new.pending == 1
    assert next(iter(shop.look(new, 100))) == "uploaded"
    shop.encoder, new_encoder = old_encoder, shop.encoder
    assert list(shop.look(old)) == before, "the old generation is searched until a server has loaded the new one"

    shop.encoder = new_encoder
    again = shop.index()
    assert (again.encoded, again.pending, again.generation) == (0, 1, report.generation)
    catalog.close()


def test_what_a_server_brings_in_with_the_old_bundle_meanwhile_is_caught_up(shop, monkeypatch):
    """Put by a server that has not loaded the new bundle yet: before the publish, and between it and the job's end."""
    monkeypatch.setattr(jobs, "BATCH", 1)
    shop.fill(range(3))
    shop.index()
    catalog = shop.catalog()
    old = shop.encoder
    shop.use(make_bundle(shop.folder / "bundle2", seed=2))
    new = shop.encoder

    def upload(name, number):
        shop.encoder = old
        for twin in ("", " twin"):
            shop.upload(catalog, name + twin, number)
        shop.encoder = new

    new.meanwhile = lambda: catalog.find(["before"]) or upload("before", 100)
    publish = jobs.publish

    def then_upload(*given):
        done = publish(*given)
        upload("after", 101)
        return done

    monkeypatch.setattr(jobs, "publish", then_upload)
    report = shop.index()
    assert (report.pending, report.encoded, report.count) == (0, 5, 7)
    searcher = shop.searcher(catalog)
    assert searcher.pending == 0
    assert list(shop.look(searcher, 100))[:2] == ["before", "before twin"]
    assert list(shop.look(searcher, 101))[:2] == ["after", "after twin"]
    catalog.close()


def test_a_new_bundle_must_not_make_another_gallery_vanish(shop):
    shop.fill(range(30))
    shop.index()
    other = shop.folder / "other"
    for number in range(100, 130):
        write(other / f"{number}.png", number)
    shop.index(other)
    shutil.move(other, shop.folder / "away")
    shop.use(make_bundle(shop.folder / "bundle2", seed=2))
    with pytest.raises(JobError, match=r"30 of the 60 items cannot be encoded .* --allow-shrink"):
        shop.index()
    shutil.move(shop.folder / "away", other)
    report = shop.index()
    assert (report.encoded, report.pending, report.count) == (30, 0, 60), "what the refused run encoded was kept"
    assert len(shop.found()) == 60


def test_a_new_bundle_on_an_empty_collection(shop):
    shop.index()
    shop.use(make_bundle(shop.folder / "bundle2", seed=2))
    shop.index()
    catalog = shop.catalog()
    assert shop.searcher(catalog).generation.fingerprint == shop.bundle.fingerprint
    catalog.close()


def test_another_precision_rebuilds_and_encodes_nothing(shop):
    shop.fill(range(3))
    shop.index()
    shop.encoder.precision = "bf16"
    report = shop.index()
    assert (report.encoded, report.generation) == (0, 2)
    assert generations.read(shop.collection, 2).precision == "bf16"


@pytest.mark.parametrize("damage", ["cut", "flip", "no segment", "no generation", "no folders", "no bundle", "bundle"])
def test_the_next_run_mends_a_damaged_collection(shop, damage):
    shop.fill(range(30))
    shop.index()
    vectors = shop.collection / "segments" / segments(shop)[0] / "vectors.f32"
    bundle = shop.collection / "bundles" / shop.bundle.fingerprint
    data = vectors.read_bytes()
    match damage:
        case "cut":
            vectors.write_bytes(data[:-4])
        case "flip":
            vectors.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        case "no segment":
            shutil.rmtree(vectors.parent)
        case "no generation":
            generations.path(shop.collection, 1).write_text("{")
        case "no folders":
            shutil.rmtree(shop.collection / "segments")
            shutil.rmtree(shop.collection / "generations")
        case "no bundle":
            (bundle / "bundle.json").unlink()
        case "bundle":
            (bundle / "weights.safetensors").write_bytes(b"")
    report = shop.index()
    assert (report.encoded, report.unchanged, report.count) == (0, 30, 30)
    assert len(shop.found()) == 30
    assert (bundle / "weights.safetensors").read_bytes() == shop.bundle.weights.read_bytes()


def test_old_generations_go(shop):
    for last in range(4, 40, 4):
        shop.fill(range(last))
        shop.index()
        assert leftovers(shop) == []
    assert len(list((shop.collection / "generations").iterdir())) == 3


# --- jobs that end early ---


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("batches", [0, 1, 5])
def test_a_job_that_is_stopped_changes_nothing_and_the_next_takes_up_its_work(shop, monkeypatch, end, batches):
    monkeypatch.setattr(jobs, "BATCH", 2)
    shop.fill(range(12))
    left = iter(range(batches))

    def stop():
        if next(left, None) is None:
            raise end

    shop.encoder.meanwhile = stop
    with pytest.raises(end):
        shop.index()
    catalog = shop.catalog()
    assert (catalog.count(), catalog.state().generation) == (0, None)
    catalog.close()
    assert shop.encoder.encoded == 2 * batches
    shop.encoder.meanwhile = lambda: None
    report = shop.index()
    assert (report.encoded, report.added, report.count) == (12 - 2 * batches, 12, 12)


@pytest.mark.parametrize("moment", ["segments.write", "segments.verify", "generations.write", "Catalog.publish"])
def test_a_job_that_dies_at_the_publish_leaves_the_state_before(shop, monkeypatch, moment):
    from index.lifecycle import publish

    shop.fill(range(10))
    shop.index()
    shop.fill(range(20))
    place, name = moment.split(".")

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(getattr(publish, place), name, die)
        with pytest.raises(KeyboardInterrupt):
            shop.index()
    assert set(shop.found()) == names(range(10))
    report = shop.index()
    assert (report.encoded, report.added, report.count) == (0, 10, 20)
    assert leftovers(shop) == []


def test_leftovers_of_dead_jobs_go(shop):
    shop.fill(range(3))
    shop.index()
    draft = shop.collection / "bundles" / ".bundle.1.tmp"
    shutil.copytree(shop.bundle.path, draft)
    shutil.copytree(shop.collection / "segments" / segments(shop)[0], shop.collection / "segments" / "00000099")
    (shop.collection / "segments" / ".00000098.tmp").mkdir()
    (shop.collection / "generations" / "98.tmp").touch()
    last = generations.read(shop.collection, 1)
    generations.write(shop.collection, last.model_copy(update={"number": 99, "segments": ["00000099"]}))
    blobs = shop.collection / "blobs"
    for name, age in ((".old.tmp", 10**6), (".new.tmp", 0)):
        (blobs / name).touch()
        os.utime(blobs / name, (blobs.stat().st_mtime - age,) * 2)
    assert shop.index().generation == 1
    assert not draft.exists()
    assert [path.name for path in blobs.iterdir()] == [".new.tmp"], "somebody may be writing it"
    (blobs / ".new.tmp").unlink()
    assert leftovers(shop) == []


def test_a_second_job_is_refused_while_one_runs(shop):
    shop.fill([1])
    refused = []

    def meanwhile():
        with pytest.raises(Busy, match="Another job is working") as error:
            shop.index()
        refused.append(error)

    shop.encoder.meanwhile = meanwhile
    assert shop.index().count == 1
    assert len(refused) == 1


# --- too much that cannot be read ---


@pytest.fixture
def broken(shop, monkeypatch):
    """Ten pictures and four files that are none, in batches of two."""
    monkeypatch.setattr(jobs, "BATCH", 2)
    shop.fill(range(10))
    for name in ("2a", "4a", "6a", "8a"):
        write(shop.gallery / f"{name}.png", b"no picture")
    return shop


def test_more_failures_than_are_put_up_with_end_the_job_as_soon_as_they_are_known(broken):
    with pytest.raises(
        JobError, match=r"^3 files cannot be read, more than --max-failures 2, e\.g\. 2a\.png: The file is not"
    ) as end:
        broken.index(max_failures=2)
    assert set(end.value.report.unreadable) == {"2a.png", "4a.png", "6a.png"}
    encoded = broken.encoder.encoded
    assert 0 < encoded < 10, "it stopped amid"
    catalog = broken.catalog()
    assert (catalog.count(), catalog.state().generation) == (0, None)
    catalog.close()
    report = broken.index(max_failures=4)
    assert (report.count, report.encoded) == (10, 10 - encoded), "what was encoded is kept"


def test_failures_that_are_remembered_and_items_that_are_kept_count_too(broken):
    broken.index()
    decoded = []
    broken.encoder.transform = decoded.append
    with pytest.raises(JobError, match="more than --max-failures 3"):
        broken.index(max_failures=3)
    assert decoded == [], "nothing had changed"
    broken.use(broken.bundle)
    for name in ("2a", "4a", "6a", "8a"):
        (broken.gallery / f"{name}.png").unlink()
    write(broken.gallery / "1.png", b"no picture any more")
    with pytest.raises(JobError, match="1 files cannot be read, more than --max-failures 0"):
        broken.index(max_failures=0)
    assert len(broken.found()) == 10
    assert broken.index(max_failures=1).count == 10


def test_a_closed_folder_counts_as_what_is_in_it(shop, monkeypatch):
    shop.fill(range(3))
    shop.fill(range(3, 9), folder="a")
    shop.index()
    closed(monkeypatch, shop.gallery / "a")
    with pytest.raises(JobError, match="6 files cannot be read"):
        shop.index(max_failures=5)
    assert shop.index(max_failures=6).count == 9


def listed(shop, rows: str) -> Path:
    place = shop.folder / "list.csv"
    place.write_text("path,size,mtime\n" + rows)
    return place


def test_a_file_is_as_large_as_it_is_whatever_its_list_says(shop, monkeypatch):
    shop.fill([1])
    monkeypatch.setattr(files, "MAX_FILE", 100)
    gallery = listed(shop, f"{shop.gallery}/1.png,7,1\n")
    (reason,) = shop.index(gallery).unreadable.values()
    assert reason == "The file has more than 100 bytes, which is the limit."
    read = files.read
    monkeypatch.setattr(files, "read", lambda *_, **__: pytest.fail("it is known to be too large"))
    assert list(shop.index(gallery).unreadable.values()) == [reason]
    monkeypatch.setattr(files, "read", read)
    monkeypatch.setattr(files, "MAX_FILE", 10_000)
    assert shop.index(listed(shop, f"{shop.gallery}/1.png,8,2\n")).count == 1


@pytest.mark.parametrize("answers", [0, 40])
def test_a_network_that_fails_for_file_after_file_ends_the_job(shop, monkeypatch, answers):
    """Unless one answers now and then, be it to say that there is no such file."""
    monkeypatch.setattr(reading, "READERS", 1)
    monkeypatch.setattr(reading, "cpu_count", lambda: 1)
    asked = []

    def read(root, path, **_):
        asked.append(path)
        if answers and len(asked) % answers == 0:
            raise ReadError("The file is not there.")
        raise Unreachable("The file cannot be had now (timed out). It is tried again in the next run.")

    monkeypatch.setattr(files, "read", read)
    gallery = listed(shop, "".join(f"https://example.invalid/{number}.png,7,1\n" for number in range(500)))
    if answers:
        assert len(shop.index(gallery).unreadable) == len(asked) == 500
        return
    with pytest.raises(JobError, match=rf"{reading.SILENT} files of .* in a row could not be had: .*timed out.* Run again"):
        shop.index(gallery)
    assert len(asked) == reading.SILENT


def test_another_gallery_that_is_away_is_not_asked_for_every_item_twice(shop, monkeypatch):
    monkeypatch.setattr(reading, "READERS", 1)
    monkeypatch.setattr(reading, "cpu_count", lambda: 1)
    shop.fill(range(1000, 1020))
    for number in range(100):
        write(shop.folder / "far" / f"{number}.png", number)
    shop.index(shop.folder / "far")
    shop.index()
    shop.use(make_bundle(shop.folder / "bundle2", seed=2))
    asked, read = [], files.read

    def away(root, path, *rest, **options):
        if root != str(shop.folder / "far"):
            return read(root, path, *rest, **options)
        asked.append(path)
        raise Unreachable("The file cannot be had now (timed out).")

    monkeypatch.setattr(files, "read", away)
    with pytest.raises(JobError, match="100 of the 120 items"):
        shop.index()
    assert len(asked) == reading.SILENT
    asked.clear()
    report = shop.index(allow_shrink=True)
    assert (report.pending, report.count, len(asked)) == (100, 120, reading.SILENT)
    monkeypatch.setattr(files, "read", read)
    assert (shop.index().pending, len(shop.found())) == (0, 120)


def test_items_that_cannot_be_encoded_are_asked_for_once_a_night(shop, monkeypatch):
    shop.fill(range(30))
    shop.index()
    write(shop.folder / "other" / "x.png", 100)
    shop.index(shop.folder / "other")
    (shop.folder / "other" / "x.png").unlink()
    shop.use(make_bundle(shop.folder / "bundle2", seed=2))
    asked, fetch = [], blobs.fetch
    monkeypatch.setattr(blobs, "fetch", lambda *given: asked.append(given[2].id) or fetch(*given))
    report = shop.index()
    assert (report.pending, asked.count("x.png")) == (1, 1)


# --- a disk that is too full, known before ---


def free(monkeypatch, *bytes: int) -> None:
    """What the disk says each time that it is asked, the last one from then on."""
    left = list(bytes)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=left.pop(0) if len(left) > 1 else left[0]))


def test_a_disk_that_has_too_little_room_is_refused_before_anything_is_encoded(shop, monkeypatch):
    shop.fill(range(30))
    free(monkeypatch, 2_000_000)
    told = r"is too full: the job needs about 9\.\d MB, and 2\.0 MB are free\. Make room"
    with pytest.raises(JobError, match=told):
        shop.index(total=30)
    with pytest.raises(JobError, match=told):
        shop.index()
    assert shop.encoder.encoded == 0


def test_room_is_looked_for_again_as_the_job_goes_and_before_the_segment_is_written(shop, monkeypatch):
    monkeypatch.setattr(jobs, "BATCH", 10)
    shop.fill(range(30))
    for last in (3, 4):  # at the beginning, once a batch, and before the segment
        shop.use(shop.bundle)
        free(monkeypatch, *[10**9] * last, 1_000)
        with pytest.raises(JobError, match=r"and 0\.0 MB are free"):
            shop.index()
        assert shop.encoder.encoded == {3: 20, 4: 10}[last], "what was encoded is kept"
        assert list((shop.collection / "segments").iterdir()) == []
    free(monkeypatch, 10**9)
    assert shop.index().count == 30


def test_nothing_to_do_needs_no_room(shop, monkeypatch):
    shop.fill(range(30))
    shop.index()
    free(monkeypatch, 0)
    assert shop.index(total=30).unchanged == 30


@pytest.mark.parametrize(
    ("live", "base", "since", "versions", "replacing", "rows"),
    [
        (0, 0, 0, 100, 0, 100),
        (100, 100, 0, 0, 0, 0),
        (100, 100, 0, 5, 0, 5),
        (100, 90, 9, 0, 0, 10),  # the service brought one
        (100, 100, 0, 5, 5, 5),
        (100, 100, 0, 100, 100, 100),  # no more than there are items
        (100, 100, 0, 20, 0, 120),
        (100, 0, 0, 0, 0, 100),  # a new bundle
    ],
)
def test_the_rows_of_the_segment_that_is_to_come(tmp_path, live, base, since, versions, replacing, rows):
    stands = room.Room(tmp_path, 16, Aim(1.0), live, base, since)
    wrote = stands.needed(0, 0, staged=versions, replacing=replacing) - stands.of_segment(0)
    assert wrote == stands.of_segment(rows) - stands.of_segment(0)


def test_what_was_committed_is_not_needed_again_and_other_galleries_are_no_part_of_this_one(shop, monkeypatch):
    monkeypatch.setattr(jobs, "BATCH", 10)
    asked, needed = [], room.Room.needed

    def noting(self, *given, **told):
        asked.append((*given, *told.values()))
        return needed(self, *given, **told)

    monkeypatch.setattr(room.Room, "needed", noting)
    shop.fill(range(30))
    shop.index(total=30)
    assert asked == [(30, 30), (10, 10, 0, 0), (20, 20, 0, 0), (20, 20, 10, 0)], "one is on the way when the next one begins"
    asked.clear()
    for number in range(100, 140):
        write(shop.folder / "other" / f"{number}.png", number)
    shop.index(shop.folder / "other", total=40)
    assert asked[0] == (40, 40)
    asked.clear()
    (shop.gallery / "labels.csv").write_text("path,name\n" + "".join(f"{n}.png,x\n" for n in range(30)))
    shop.index(total=30)
    assert asked == [(0, 0), (0, 10, 0, 10), (0, 20, 0, 20), (0, 20, 10, 30)]


@pytest.mark.parametrize("dim", [128, 512])
def test_what_a_job_needs_is_about_what_it_writes(tmp_path, dim):
    """Rows as the job writes them; more than was foreseen is an error, and three times too much is one too."""
    count = 10_000
    vectors = {content(0)[:-8] + f"{row:08x}": np.zeros(dim, np.float32) for row in range(count)}
    items = [NewItem(f"a folder/picture-{row:08d}.jpg", name, {"label": "x"}, 1, 1) for row, name in enumerate(vectors)]
    catalog = Catalog(tmp_path, create=True)
    job = catalog.begin("/srv/a/gallery", "/srv/a/gallery", "f" * 64)
    for some in range(0, count, 1000):
        part = items[some : some + 1000]
        chosen = {item.content: vectors[item.content] for item in part}
        catalog.stage(job, Known({}, {}, 0), items=part, vectors=chosen)
    rows = catalog.vectors(catalog.live_keys(job=job).tolist(), "f" * 64, dim)
    segment.write(tmp_path / "segments" / "1", "f" * 64, dim, rows)
    written = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    needed = room.Room(tmp_path, dim, Aim(1.0), live=0).needed(count, count)
    assert written <= needed <= 3 * written
    catalog.close()


# --- what is to go, and what is to stay ---


def test_bare_vectors_hold_a_new_bundle_up_unless_they_are_dropped(shop):
    shop.fill(range(5))
    shop.index()
    catalog = shop.catalog()
    vector = np.eye(1, 16, dtype=np.float32)[0]
    bare = NewItem("bare", content_of(vector), {}, 0, 0)
    catalog.put(bare, shop.bundle.fingerprint, vector)
    assert shop.index().count == 6
    shop.use(make_bundle(shop.folder / "bundle2", seed=2))
    with pytest.raises(PublishError, match=r"1 items came as vectors without a picture, e\.g\. 'bare'.*--drop-vector-only"):
        shop.index()
    assert shop.encoder.encoded == 0
    report = shop.index(drop_vector_only=True)
    assert (report.count, report.removed, report.pending) == (5, 1, 0)
    assert catalog.find(["bare"]) == {}
    catalog.close()


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_generations_stay_as_are_asked_for(shop, keep):
    for last in range(1, 7):
        shop.fill(range(last))
        shop.index(keep=keep)
    assert len(generations.readable(shop.collection)) == keep + 1


# --- what is asked for cannot be done ---


def test_a_collection_in_its_gallery(shop):
    """`lookalike up .` makes one there."""
    shop.fill(range(3))
    shop.collection = shop.gallery / "pics.lookalike"
    shop.index()
    write(shop.collection / "bundles" / "drawing.png", 9)
    report = shop.index()
    assert (report.found, report.count) == (3, 3)


@pytest.mark.parametrize("place", ["", "blobs", "a/b"])
def test_a_gallery_in_its_collection_is_refused(shop, place):
    gallery = shop.collection / place
    write(gallery / "1.png", 1)
    with pytest.raises(JobError, match="lies in the collection itself"):
        shop.index(gallery)
    assert (gallery / "1.png").exists()


def test_what_is_not_a_gallery(shop):
    with pytest.raises(GalleryError, match="is not a folder"):
        shop.index(shop.folder / "none")
    with pytest.raises(JobError, match="'api' stands for what comes through the service"):
        shop.index(origin="api")
    strange = Path(os.fsdecode(os.fsencode(shop.folder) + b"/\xff"))
    strange.mkdir()
    with pytest.raises(JobError, match="is not UTF-8"):
        shop.index(strange)
    assert not shop.collection.exists()


def test_an_encoder_of_another_bundle_is_refused(shop):
    shop.fill([1])
    shop.encoder = CountingEncoder(make_bundle(shop.folder / "bundle2", seed=2))
    with pytest.raises(JobError, match="of another bundle"):
        shop.index()


# --- a full disk ---


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root and the right to mount for a disk that can be filled")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_the_names_of_new_folders_are_on_disk_before_the_job_begins(shop, monkeypatch):
    synced = []
    sync = bundles.sync
    monkeypatch.setattr(bundles, "sync", lambda path: (synced.append(path), sync(path)))
    monkeypatch.setattr(jobs, "keep_bundle", lambda *_: synced.append("begins"))
    shop.collection = shop.folder / "new" / "collection"
    with pytest.raises(FileNotFoundError):
        shop.index()
    assert {*synced[: synced.index("begins")]} == {shop.collection, shop.folder / "new", shop.folder}
    assert {path.name for path in shop.collection.iterdir()} >= {"blobs", "bundles", "generations", "segments"}


def test_a_full_disk(shop, small_disk, monkeypatch):
    """With more room each time the job fails at one place after the other, while a server goes on; then it ends well.

    Others fill the disk while the job runs: what it looked for before was there."""
    monkeypatch.setattr(room.Room, "check", lambda *_: None)
    shop.collection = small_disk / "collection"
    shop.fill(range(50))
    shop.index()
    catalog = shop.catalog()
    searcher = shop.searcher(catalog)
    shop.fill(range(300))
    rows = (f"{number}.png,{str(number) * 2000}\n" for number in range(50, 300))
    (shop.gallery / "labels.csv").write_text("path,text\n" + "".join(rows))
    ballast = small_disk / "ballast"
    _fill(ballast)
    failures = []
    while ballast.stat().st_size:
        try:
            report = shop.index()
            break
        except Failure as failure:
            failures.append(failure)
        assert set(shop.look(searcher)) == set(shop.look(shop.searcher(catalog))) == names(range(50))
        os.truncate(ballast, max(0, ballast.stat().st_size - 400 * 1024))
    assert (report.count, report.added) == (300, 250)
    assert set(shop.found()) == names(range(300))
    assert leftovers(shop) == []
    assert all("full" in str(failure) for failure in failures)
    assert {type(failure) for failure in failures} == {DiskFull, JobError}
    catalog.close()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_a_bundle_of_the_same_vectors_but_another_calibration_is_taken_up_and_encodes_nothing(shop):
    shop.fill(range(5))
    before = shop.index().generation
    assert shop.index().generation == before
    manifest = shop.bundle.manifest.model_copy()
    with bundles.writing(shop.bundle.path) as draft:
        shutil.copytree(shop.bundle.path, draft, dirs_exist_ok=True)
        (draft / "calibration.json").write_text("{}")
        bundles.seal(draft, manifest)
    shop.use(bundles.load(shop.bundle.path))
    report = shop.index()
    assert (report.encoded, report.unchanged) == (0, 5)
    assert report.generation > before
    copy = bundles.load(shop.collection / "bundles" / shop.bundle.fingerprint)
    assert "calibration.json" in copy.manifest.files
    assert set(shop.found()) == {f"{number}.png" for number in range(5)}
    assert shop.index().generation == report.generation


# --- at once ---


def test_a_batch_is_committed_while_the_next_one_is_encoded(shop, monkeypatch):
    monkeypatch.setattr(jobs, "BATCH", 10)
    shop.fill(range(30))
    begun, calls = [threading.Event() for _ in range(4)], []
    encode, stage = shop.encoder.encode, Catalog.stage

    def encoding(images):
        begun[len(calls)].set()
        calls.append(len(images))
        return encode(images)

    def staging(self, *given, **told):
        assert begun[min(len(calls), 2)].wait(30), "the next batch is encoded before this one is committed"
        stage(self, *given, **told)

    monkeypatch.setattr(shop.encoder, "encode", encoding)
    monkeypatch.setattr(Catalog, "stage", staging)
    report = shop.index()
    assert (report.encoded, report.count, calls) == (30, 30, [10, 10, 10])


def test_twins_of_what_is_on_the_way_are_not_encoded(shop, monkeypatch):
    monkeypatch.setattr(jobs, "BATCH", 5)
    for number in range(20):
        write(shop.gallery / f"{number:02d}.png", number % 4)
    report = shop.index()
    assert (report.encoded, report.count, shop.encoder.encoded) == (4, 20, 4)
    assert len(shop.found()) == 20
