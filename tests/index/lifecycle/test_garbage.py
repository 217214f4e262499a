"""What a collection may forget, and what it must not."""

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from miniatures import DIM, content, make_bundle, picture, write

from index import blobs
from index import catalog as catalogs
from index.catalog import BARE, NewItem, Patch, Put, content_of
from index.generation import GenerationError
from index.lifecycle import history
from index.lifecycle.garbage import Freed, collect
from index.lock import Busy, only_job


@pytest.fixture
def catalog(shop):
    """Generations 1 to 3: each has its own version of 1.png, and less of the others."""
    shop.fill(range(20))
    for number in range(3):
        write(shop.gallery / "1.png", 101 + number)
        (shop.gallery / f"{10 + number}.png").unlink()
        shop.index(origin="gallery")
    catalog = shop.catalog()
    yield catalog
    catalog.close()


def rows(catalog, table: str, column: str) -> list:
    with sqlite3.connect(catalog.path) as connection:
        found = [row[0] for row in connection.execute(f"SELECT {column} FROM {table} ORDER BY 1")]
    connection.close()
    return found


def age(place: Path) -> None:
    for file in (place / "blobs").iterdir():
        os.utime(file, (0, 0))


def everything(shop, catalog) -> dict:
    files = {path: path.stat().st_mtime_ns for path in shop.collection.rglob("*/*")}
    return {"files": files, "rows": [rows(catalog, *each) for each in (("items", "key"), ("vectors", "content"))]}


def test_generations_beyond_those_to_keep_are_freed(shop, catalog):
    found = shop.found()
    freed = collect(catalog, shop.collection, 1)
    assert (freed.generations, freed.segments) == ([1, 2], ["00000001", "00000002"])
    assert freed.bytes > 0
    assert shop.found() == found
    assert [each.number for each in history.kept(catalog, shop.collection)] == [3]
    assert freed.versions == 4, "two versions of 1.png, 11.png and 12.png"
    assert rows(catalog, "items", "key") == catalog.live_keys().tolist()
    assert freed.vectors == 4
    assert rows(catalog, "vectors", "content") == sorted(item.content for item in found.values())
    assert collect(catalog, shop.collection, 1) == Freed()


def test_a_dry_run_says_the_same_and_frees_nothing(shop, catalog):
    shop.upload(catalog, "x", 200)
    shop.upload(catalog, "x", 201)
    shop.index(origin="gallery")
    age(shop.collection)
    before = everything(shop, catalog)
    told = collect(catalog, shop.collection, 1, dry_run=True)
    assert everything(shop, catalog) == before
    assert told.pictures == 1
    assert told.changes == 1
    assert collect(catalog, shop.collection, 1) == told


def test_a_generation_that_is_kept_can_be_gone_back_to(shop, catalog):
    assert collect(catalog, shop.collection, 3) == Freed()
    history.roll_back(catalog, shop.collection, 1)
    old = shop.found()
    assert collect(catalog, shop.collection, 1) == Freed(), "the way forward is kept too"
    history.roll_back(catalog, shop.collection, 3)
    collect(catalog, shop.collection, 2)
    history.roll_back(catalog, shop.collection)
    assert shop.found()["1.png"].content == content(102)
    assert old["1.png"].content == content(101)


def test_graves_are_kept_and_no_other_version_becomes_one(shop, catalog):
    assert catalog.delete("5.png")  # a grave
    shop.upload(catalog, "6.png", 206)  # and one under an item of the service
    assert catalog.delete("7.png")
    write(shop.gallery / "7.png", 207)  # none: its file came back,
    shop.index(origin="gallery")
    (shop.gallery / "7.png").unlink()  # and went
    shop.index(origin="gallery")
    shop.index(origin="gallery")
    shop.fill([30])
    shop.index(origin="gallery")
    collect(catalog, shop.collection, 1)
    graves = catalog.look_up(["5.png", "6.png", "7.png"]).graves
    assert {id: item.content for id, item in graves.items()} == {"5.png": content(5)}
    write(shop.gallery / "7.png", 7)
    report = shop.index(origin="gallery")
    assert (report.added, report.kept_deleted, report.owned_by_api) == (1, 1, 1)
    assert catalog.delete("6.png")
    assert catalog.look_up(["6.png"]).graves["6.png"].content == content(6)
    assert shop.index(origin="gallery").kept_deleted == 2


def test_a_running_server_goes_on_and_counts_right(shop, catalog):
    shop.upload(catalog, "x", 200, {"kind": "new"})
    searcher = shop.searcher(catalog)
    shop.upload(catalog, "x", 201, {"kind": "new"})
    searcher.follow()
    assert catalog.delete("3.png")
    before = shop.look(searcher)
    collect(catalog, shop.collection, 1)
    assert shop.look(searcher) == before
    assert searcher.facets("kind", 5) == [("new", 1)]
    shop.upload(catalog, "y", 202, {"kind": "new"})
    searcher.follow()
    assert searcher.facets("kind", 5) == [("new", 2)]
    assert set(shop.look(searcher)) == {*before, "y"}


def test_servers_may_follow_before_the_generation_before_goes(shop, catalog, monkeypatch):
    slept = []
    monkeypatch.setattr(catalogs.catalog, "FOLLOWED", 7.0)
    monkeypatch.setattr(catalogs.catalog.time, "sleep", slept.append)
    collect(catalog, shop.collection, 1, dry_run=True)
    collect(catalog, shop.collection, 2)
    assert slept == []
    collect(catalog, shop.collection, 1)
    assert len(slept) == 1 and 0 < slept[0] <= 7


def test_a_file_of_another_name_goes_too(shop, catalog):
    (shop.collection / "generations" / "1.old.json").write_text("{}")
    assert collect(catalog, shop.collection, 3).generations == []
    assert not (shop.collection / "generations" / "1.old.json").exists()


def test_a_picture_goes_with_its_last_version_and_not_while_it_is_young(shop, catalog):
    shop.upload(catalog, "x", 200)
    shop.upload(catalog, "y", 201)
    assert catalog.delete("x")
    shop.index(origin="gallery")
    collect(catalog, shop.collection, 1)  # the version goes, and the picture may be on the way to another
    names = {path.name for path in (shop.collection / "blobs").iterdir()}
    assert names == {content(200), content(201)}
    age(shop.collection)
    assert collect(catalog, shop.collection, 1).pictures == 1
    assert blobs.read(shop.collection, catalog, catalog.find(["y"])["y"]) == picture(201)
    assert [path.name for path in (shop.collection / "blobs").iterdir()] == [content(201)]


def test_a_picture_that_was_put_aside_by_a_process_that_died_comes_back(shop, catalog):
    shop.upload(catalog, "x", 200)
    place = shop.collection / "blobs"
    (place / content(200)).rename(place / f".{content(200)}.aside")
    shop.index(origin="gallery")
    assert blobs.read(shop.collection, catalog, catalog.find(["x"])["x"]) == picture(200)


def test_another_bundle_is_freed_with_its_last_generation(shop, catalog):
    old = shop.bundle.fingerprint
    vector = np.ones(DIM, np.float32) / 4
    catalog.apply([Put(NewItem("bare", content_of(vector), {}, 64, 0), vector)], old)
    shop.use(make_bundle(shop.folder / "new", seed=1))
    job = catalog.begin("gallery", shop.gallery, shop.bundle.fingerprint)
    catalog.stage(job, catalog.look_up([]), vectors={"half": vector})  # and dies
    assert collect(catalog, shop.collection, 1).bundles == []
    assert catalog.without_vector(["half"], shop.bundle.fingerprint) == {"half"}, "no version needs it"
    catalog.delete("bare")
    shop.index(origin="gallery")
    freed = collect(catalog, shop.collection, 1)
    assert freed.bundles == [old]
    assert set(rows(catalog, "vectors", "fingerprint")) == {shop.bundle.fingerprint}
    assert len(shop.found()) == 17


def test_the_only_vector_of_an_item_without_a_picture_is_kept(shop, catalog):
    vector = np.ones(DIM, np.float32) / 4
    catalog.apply([Put(NewItem("bare", content_of(vector), {}, 64, 0), vector)], "a bundle of yesterday")
    collect(catalog, shop.collection, 1)
    assert catalog.without_vector([content_of(vector)], "a bundle of yesterday") == set()
    assert content_of(vector).startswith(BARE)


def test_the_vectors_of_a_job_that_died_are_taken_up_by_the_next(shop, catalog, monkeypatch):
    shop.fill(range(40, 60))
    monkeypatch.setattr("index.job.job.publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        shop.index(origin="gallery")
    monkeypatch.undo()
    collect(catalog, shop.collection, 1)
    assert shop.index(origin="gallery").encoded == 0


@pytest.mark.parametrize("moment", ["forget", "forget_vectors", "forget_changes", "named"])
def test_killed_at_any_moment_the_next_one_goes_on(shop, catalog, monkeypatch, moment):
    shop.upload(catalog, "x", 200)
    shop.upload(catalog, "x", 201)
    catalog.apply([Patch("3.png", {"name": "bear"})], shop.bundle.fingerprint)
    shop.index(origin="gallery")
    age(shop.collection)
    found, whole = shop.found(), collect(catalog, shop.collection, 1, dry_run=True)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(catalog), moment, die)
        with pytest.raises(KeyboardInterrupt):
            collect(catalog, shop.collection, 1)
    assert shop.found() == found
    again = collect(catalog, shop.collection, 1)
    assert again.pictures == whole.pictures == 1
    assert shop.found() == found
    assert rows(catalog, "changes", "number") == [3]
    assert collect(catalog, shop.collection, 1) == Freed()
    assert shop.index(origin="gallery").encoded == 0


def test_not_beside_a_job_and_not_without_a_generation(shop, catalog):
    with only_job(shop.collection), pytest.raises(Busy):
        collect(catalog, shop.collection)
    (shop.collection / "generations/3.json").write_text("{}")
    with pytest.raises(GenerationError, match="no current generation that can be read"):
        collect(catalog, shop.collection)
