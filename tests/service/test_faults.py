"""What breaks under a running server or before it starts: told in a sentence, while the last good state is searched."""

import shutil
import subprocess
from itertools import count

import pytest
from odd_ids import NAMES

from index import generation as generations
from index.catalog import Catalog, CatalogError, ReadOnly
from index.job import job
from model.encoder import open_encoder
from service.engine import Engine, NotReady


@pytest.fixture
def mounted(tmp_path):
    """`mounted(folder, *options)`: mounts something there until the test ends. Needs root, as in a container or CI."""
    places = []

    def mount(folder, *options):
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", *options, folder], check=True)
        places.append(folder)
        return folder

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def unwritable(mounted, tmp_path):
    """`unwritable(collection)`: the same folder at a place where it cannot be written."""

    def made(collection):
        place = mounted(tmp_path / "unwritable", "--bind", collection)
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        return place

    return made


@pytest.fixture
def opened():
    """`opened(collection)`: an engine that has not followed yet."""
    engines = []

    def engine(collection):
        engines.append(Engine(collection, "openvino", None, 80_000_000))
        return engines[-1]

    yield engine
    for each in engines:
        each.close()


def ids(engine, picture, k=100):
    return {hit.item.id for hit in engine.search(picture, k).hits}


def reindex(gallery, bundle, collection, **options):
    return job.run(gallery, bundle, open_encoder(bundle, "openvino"), collection, **options)


@pytest.fixture
def grown(gallery, backbone, fresh, another, tmp_path):
    """A collection of two generations, the second with one picture more in a segment of its own or with the others."""
    more = shutil.copytree(gallery, tmp_path / "gallery")
    (more / "more.png").write_bytes(another)
    reindex(more, backbone, fresh, origin=str(gallery))
    return fresh


def newest(collection):
    return collection / "segments" / generations.readable(collection)[-1].segments[-1]


# --- a folder that cannot be written ---


def test_a_folder_that_cannot_be_written_is_served_as_it_is(fresh, unwritable, open_client, picture, check_problem):
    client = open_client(unwritable(fresh))
    assert client.post("/search", files={"image": picture}).json()["results"][0]["id"] == "plain.png"
    ready = client.get("/readyz").json()
    assert ready["status"] == "ready" and not ready["following"]
    assert "cannot be written" in ready["detail"]
    assert "lookalike_following 0.0" in client.get("/metrics").text
    check_problem(client.put("/items/new", files={"image": picture}), 403, "read-only")
    check_problem(client.delete("/items/plain.png"), 403, "read-only")
    assert client.get("/items/plain.png").status_code == 200
    assert list((fresh / "blobs").iterdir()) == []


def test_a_writable_one_says_that_it_is_followed(changing):
    assert changing.get("/readyz").json() == {"status": "ready", "following": True, "detail": None}


def test_what_a_writer_left_in_the_log_is_read_too(fresh, unwritable, opened, picture):
    writer = Catalog(fresh)
    assert writer.delete("plain.png")
    assert (fresh / "catalog.sqlite-wal").stat().st_size
    engine = opened(unwritable(fresh))
    assert engine.follow()
    assert "plain.png" not in ids(engine, picture)
    writer.close()


def test_a_snapshot_of_a_catalog_in_use_says_what_is_missing(fresh, unwritable, tmp_path):
    writer = Catalog(fresh)
    assert writer.delete("plain.png")
    copy = shutil.copytree(fresh, tmp_path / "copy", ignore=shutil.ignore_patterns("*-shm"))
    writer.close()
    with pytest.raises(CatalogError, match=r"in use when it was copied.*lookalike backup"):
        Catalog(unwritable(copy))


def test_no_job_and_no_change_touches_it(fresh, unwritable, gallery, backbone):
    place = unwritable(fresh)
    catalog = Catalog(place)
    with pytest.raises(ReadOnly, match="Mount it writable"):
        catalog.delete("plain.png")
    catalog.close()
    with pytest.raises(OSError, match="Read-only file system"):
        reindex(gallery, backbone, place)


# --- a generation that is not whole ---


def cut(segment):
    file = segment / "vectors.f32"
    file.write_bytes(file.read_bytes()[:-4])


def replaced_by_a_folder(segment):
    (segment / "columns.arrow").unlink()
    (segment / "columns.arrow").mkdir()


def gone(segment):
    shutil.rmtree(segment)


@pytest.mark.parametrize("harm", [cut, replaced_by_a_folder, gone])
def test_a_server_that_starts_over_a_damaged_generation_serves_the_one_before(
    harm, grown, opened, picture, another, gallery, backbone, tmp_path
):
    harm(newest(grown))
    engine = opened(grown)
    assert not engine.follow()
    assert ids(engine, picture) == set(NAMES)
    assert "is damaged" in engine.lags and "lookalike index" in engine.lags
    assert engine.count == len(NAMES) + 1
    assert not engine.follow(), "it goes on trying"
    reindex(tmp_path / "gallery", backbone, grown, origin=str(gallery))
    assert engine.follow()
    assert engine.lags is None
    assert ids(engine, another) == {*NAMES, "more.png"}


def test_where_no_generation_is_whole_it_says_so(grown, opened):
    for segment in (grown / "segments").iterdir():
        cut(segment)
    engine = opened(grown)
    assert not engine.follow()
    with pytest.raises(NotReady, match=r"is damaged.*lookalike index"):
        _ = engine.serving


def test_a_job_notices_a_flipped_byte_and_builds_anew(grown, opened, another, gallery, backbone, tmp_path):
    file = newest(grown) / "vectors.f32"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    report = reindex(tmp_path / "gallery", backbone, grown, origin=str(gallery))
    assert report.encoded == 0 and report.generation == 3
    assert newest(grown) != file.parent
    engine = opened(grown)
    assert engine.follow() and ids(engine, another) == {*NAMES, "more.png"}


# --- a catalog that is not whole ---


def test_a_catalog_that_becomes_a_folder_is_told_while_search_goes_on(fresh, opened, picture):
    engine = opened(fresh)
    assert engine.follow()
    file, aside = fresh / "catalog.sqlite", fresh.parent / "aside"
    file.rename(aside)
    file.mkdir()
    assert not engine.follow()
    assert ids(engine, picture) == set(NAMES)
    assert "catalog.sqlite is a folder" in engine.lags
    for change in (lambda: engine.put("new", picture, {}), lambda: engine.delete("plain.png")):
        with pytest.raises(CatalogError, match="taken away"):
            change()
    file.rmdir()
    aside.rename(file)
    assert engine.follow() and engine.lags is None
    assert engine.delete("plain.png")


@pytest.mark.parametrize("page", [0, 1, 3])
def test_a_damaged_page_of_the_catalog_is_told(fresh, opened, picture, page):
    file = fresh / "catalog.sqlite"
    data = bytearray(file.read_bytes())
    data[page * 4096 : page * 4096 + 4096] = b"\xff" * 4096
    file.write_bytes(data)
    engine = opened(fresh)
    with pytest.raises((CatalogError, NotReady), match=r"catalog.sqlite is damaged.*lookalike restore"):
        assert not engine.follow() or engine.search(picture, 5)
        _ = engine.serving
        engine.put("new", picture, {})


# --- a full disk ---


def test_a_full_disk_refuses_changes_loses_none_and_goes_on_searching(
    fresh, mounted, tmp_path, open_client, picture, check_problem
):
    size = sum(file.stat().st_size for file in fresh.rglob("*") if file.is_file())
    place = mounted(tmp_path / "small", "-t", "tmpfs", "-o", f"size={size + 2 * 2**20}", "tmpfs")
    collection = shutil.copytree(fresh, place / "collection")
    client = open_client(collection)
    kept, padding = [], 0
    for number in count():
        padding = number * 1000
        answer = client.put(f"/items/{number}", files={"image": picture + bytes(50_000 + padding)})
        if answer.status_code != 200:
            break
        kept.append(str(number))
    assert "Make room" in check_problem(answer, 507, "disk-full")
    assert kept
    found = {hit["id"] for hit in client.post("/search?k=1000", files={"image": picture}).json()["results"]}
    assert found == {*NAMES, *kept}
    next((collection / "blobs").iterdir()).unlink()
    assert client.put("/items/later", files={"image": picture}).status_code == 200


def test_a_job_on_a_full_disk_says_so_and_leaves_the_search_as_it_was(
    fresh, mounted, tmp_path, gallery, other_backbone, opened, picture
):
    size = sum(file.stat().st_size for file in fresh.rglob("*") if file.is_file())
    place = mounted(tmp_path / "small", "-t", "tmpfs", "-o", f"size={size + 2**20}", "tmpfs")
    collection = shutil.copytree(fresh, place / "collection")
    with pytest.raises((job.JobError, CatalogError), match=r"full.*Make room"):
        reindex(gallery, other_backbone, collection)
    engine = opened(collection)
    assert engine.follow() and ids(engine, picture) == set(NAMES)
    subprocess.run(["mount", "-o", f"remount,size={size + 2**26}", place], check=True)
    assert reindex(gallery, other_backbone, collection).count == len(NAMES)
    assert engine.follow() and engine.serving.bundle.fingerprint == other_backbone.fingerprint


# --- a clock that is set back ---


def test_a_clock_that_is_set_back_changes_no_order(grown, opened, gallery, backbone, another, picture, monkeypatch, tmp_path):
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    engine = opened(grown)
    assert engine.follow()
    engine.put("late", picture, {})
    assert "late" in ids(engine, picture)
    (tmp_path / "gallery" / "more.png").unlink()
    report = reindex(tmp_path / "gallery", backbone, grown, origin=str(gallery))
    assert report.generation == 3 and report.removed == 1
    assert engine.follow()
    assert ids(engine, another) == {*NAMES, "late"}
