"""Catalogs of earlier formats: ``format1.zip`` is a gallery and a collection as format 1 wrote them (two jobs; then the service
brought put.png and deleted 1.png)."""

import sqlite3
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from miniatures import Shop, content

from index.catalog import FILE, Catalog, CatalogError, NewItem, schema
from model import bundle as bundles

ITEMS = {"0.png": content(10), "2.png": content(2), "put.png": content(20)}


@pytest.fixture
def old(tmp_path) -> Shop:
    with zipfile.ZipFile(Path(__file__).with_name("format1.zip")) as archive:
        archive.extractall(tmp_path / "old")
    shop = Shop.__new__(Shop)
    shop.folder, shop.gallery, shop.collection = tmp_path, tmp_path / "old/gallery", tmp_path / "old/collection"
    (bundle,) = (shop.collection / "bundles").iterdir()
    shop.use(bundles.load(bundle))
    return shop


def columns(shop, table: str) -> set[str]:
    with sqlite3.connect(shop.collection / FILE) as connection:
        names = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    connection.close()
    return names


def test_format_1_opens_and_is_searched(old):
    assert "path" not in columns(old, "items"), "this is a test of the migration"
    found = old.found(2)
    assert next(iter(found)) == "2.png"
    assert {id: (item.content, item.path) for id, item in found.items()} == {id: (hash, "") for id, hash in ITEMS.items()}
    assert found["put.png"].metadata == {"name": "bear"}
    for table in (schema.items, schema.jobs):
        assert columns(old, table.name) == {column.name for column in table.columns}


def test_format_1_is_indexed_on(old):
    report = old.index(origin="gallery")
    assert (report.added, report.removed, report.encoded, report.kept_deleted) == (0, 0, 0, 1)
    assert set(report.unreadable) == {"broken.png"}
    old.fill([30])
    report = old.index(origin="gallery")
    assert (report.added, report.removed, report.encoded) == (1, 0, 1)
    assert {id: item.content for id, item in old.found().items()} == ITEMS | {"30.png": content(30)}


def test_many_open_an_old_catalog_at_once(old):
    with ThreadPoolExecutor(8) as threads:
        catalogs = list(threads.map(lambda _: old.catalog(), range(8)))
    assert [catalog.count() for catalog in catalogs] == [3] * 8
    for catalog in catalogs:
        catalog.close()


def test_a_migration_that_breaks_off_leaves_the_format_before(old, monkeypatch):
    monkeypatch.setitem(schema.MIGRATIONS, 1, (*schema.MIGRATIONS[1], "ALTER TABLE absent ADD COLUMN more TEXT"))
    before = columns(old, "items")
    with pytest.raises(CatalogError, match="no such table"):
        old.catalog()
    assert columns(old, "items") == before
    monkeypatch.undo()
    assert len(old.found()) == 3


def test_a_path_is_part_of_the_checksum(tmp_path):
    catalog = Catalog(tmp_path / "new", create=True)
    catalog.put(NewItem("x", "c", {}, 1, 1, "a/b.png"), "f", np.ones(4, np.float32))
    assert catalog.find(["x"])["x"].path == "a/b.png"
    with sqlite3.connect(catalog.path) as connection:
        connection.execute("UPDATE items SET path = 'a/c.png'")
    connection.close()
    with pytest.raises(CatalogError, match="is damaged"):
        catalog.find(["x"])
    catalog.close()
