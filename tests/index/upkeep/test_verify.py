"""What is wrong with a collection is found, each harm as itself, with what to do; and what is whole is called so."""

import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from miniatures import CountingEncoder, content, make_bundle, write

from index.catalog import FILE, CatalogError
from index.upkeep import verify as looks
from index.upkeep.verify import Verdict, verify
from model.bundle import file_digest
from model.encoder import RuntimeUnavailable


@pytest.fixture
def whole(shop):
    """Two generations, three segments, an item that waits for no vector, and two that came through the service."""
    shop.fill(range(30))
    shop.index()
    shop.fill([30])
    shop.index()
    catalog = shop.catalog()
    shop.upload(catalog, "mine", 40)
    shop.upload(catalog, "gone", 41)
    catalog.delete("gone")
    catalog.close()
    return shop


def look(shop, sample: int = 100) -> Verdict:
    return verify(shop.collection, sample, lambda generation, bundle: CountingEncoder(bundle))


def sql(shop, *statements: str) -> None:
    connection = sqlite3.connect(shop.collection / FILE)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def files(folder: Path) -> dict[str, str]:
    names = (FILE + "-shm", FILE + "-wal")
    return {str(path): file_digest(path) for path in folder.rglob("*") if path.is_file() and path.name not in names}


def test_a_whole_collection(whole):
    before = files(whole.collection)
    verdict = look(whole)
    assert verdict.findings == []
    figures = verdict.figures()
    assert figures["whole"] is True
    assert (verdict.items, verdict.vectors, verdict.live, verdict.blobs) == (33, 33, 32, 1)
    assert (verdict.generations, verdict.segments, verdict.bundles) == ([2, 1], 2, 1)
    assert verdict.agreement.images == 32
    assert verdict.agreement.minimum > 0.9999
    assert (verdict.changed, verdict.away) == (0, 0)
    assert files(whole.collection) == before


def test_a_collection_without_anything(shop):
    shop.index()
    assert look(shop).findings == []
    with pytest.raises(CatalogError, match="Is its disk mounted"):
        verify(shop.gallery)


def test_files_that_changed_since_are_no_finding(whole):
    write(whole.gallery / "1.png", 99)
    (whole.gallery / "2.png").unlink()
    verdict = look(whole)
    assert verdict.findings == []
    assert (verdict.agreement.images, verdict.changed, verdict.away) == (30, 1, 1)


def page(shop, name: str) -> tuple[int, int]:
    """The number of a table's or an index's first page, and the bytes of a page."""
    connection = sqlite3.connect(shop.collection / FILE)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ((number,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchall()
    ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    connection.close()
    return number, size


def a_page(shop) -> None:
    number, size = page(shop, "items")
    with (shop.collection / FILE).open("r+b") as file:
        file.seek((number - 1) * size)
        file.write(b"\xff" * size)


def the_header(shop) -> None:
    with (shop.collection / FILE).open("r+b") as file:
        file.write(b"\xff" * 100)


def a_segment(shop) -> None:
    flip(shop.collection / "segments" / "00000001" / "vectors.f32")


def no_segment(shop) -> None:
    (shop.collection / "segments" / "00000002" / "keys.i64").unlink()


def a_blob(shop) -> None:
    flip(shop.collection / "blobs" / content(40))


def no_blob(shop) -> None:
    (shop.collection / "blobs" / content(40)).unlink()


def a_bundle(shop) -> None:
    flip(shop.collection / "bundles" / shop.bundle.fingerprint / "weights.safetensors")


def a_generation(shop) -> None:
    (shop.collection / "generations" / "2.json").write_text("{")


def a_vector(shop) -> None:
    sql(shop, "UPDATE vectors SET vector = zeroblob(64) WHERE rowid = 7")


def a_row(shop) -> None:
    sql(shop, "UPDATE items SET metadata = '{\"price\": 1}' WHERE id = '5.png'")


def the_count(shop) -> None:
    sql(shop, "UPDATE current SET live = 31")


def an_index(shop) -> None:
    """One entry, in a page that is otherwise whole."""
    number, size = page(shop, "ix_items_id")
    data = bytearray((shop.collection / FILE).read_bytes())
    place = data.index(b"15.png", (number - 1) * size, number * size)
    data[place : place + 6] = b"15.pnh"
    (shop.collection / FILE).write_bytes(data)


def a_key(shop) -> None:
    """A live item that no segment has: as if its row had come from nowhere."""
    sql(shop, "INSERT INTO items SELECT 99, id, origin, content, metadata, size, mtime_ns, path, added_by, NULL, checksum "
        "FROM items WHERE key = 1", "UPDATE items SET removed_by = 1 WHERE key = 1")  # fmt: skip


def a_path(shop) -> None:
    sql(shop, "UPDATE items SET path = 'elsewhere' WHERE key = 3")


def header(shop, row: bytes, text: bytes) -> None:
    """Make bytes of a text of 5 characters: one bit of what the row's header says of it."""
    sql(shop)
    data = bytearray((shop.collection / FILE).read_bytes())
    start = data.index(row)
    data[data.rindex(bytes([13 + 2 * len(text)]), start - 12, start)] ^= 1
    (shop.collection / FILE).write_bytes(data)


def a_bit_of_a_header(shop) -> None:
    header(shop, b"7.png" + str(shop.gallery).encode() + content(7).encode(), b"7.png")


HARMS: dict[Callable, tuple[str, str]] = {
    a_page: ("Pages of the catalog are damaged", "Restore the last backup"),
    the_header: ("The catalog cannot be read", "Restore the last backup"),
    an_index: ("Pages of the catalog are damaged", "Restore the last backup"),
    a_segment: ("00000001 is damaged", "Run `lookalike index` again"),
    no_segment: ("00000002 is damaged", "Run `lookalike index` again"),
    a_blob: ("1 uploaded pictures are damaged", "from a backup's folder blobs"),
    no_blob: ("1 uploaded pictures are missing", "from a backup's folder blobs"),
    a_bundle: ("is missing or was changed", "with the bundle that it was copied from"),
    a_generation: (r"2\.json cannot be read", "Run `lookalike index` again"),
    a_vector: ("1 vectors in the catalog", "Restore the last backup"),
    a_row: ("1 rows of items", "Restore the last backup"),
    a_bit_of_a_header: ("1 rows of items", "Restore the last backup"),
    a_path: ("1 rows of items", "Restore the last backup"),
    the_count: ("says that 31 items are live, and 32 are", "Restore the last backup"),
    a_key: ("1 live items are in no segment", "Run `lookalike index` again"),
}


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_harm_is_found(whole, harm):
    harm(whole)
    before = files(whole.collection)
    found = look(whole).findings
    assert files(whole.collection) == before
    what, todo = HARMS[harm]
    sentences = [finding.what for finding in found]
    assert any(re.search(what, sentence) for sentence in sentences), sentences
    assert any(todo in finding.todo for finding in found), found
    assert all(finding.todo.endswith(".") for finding in found), found


@pytest.mark.parametrize("harm", [a_segment, no_segment, a_generation, a_key], ids=lambda harm: harm.__name__)
def test_what_the_finding_says_helps(whole, harm):
    harm(whole)
    whole.index()
    assert all("No search needs it" in finding.todo for finding in look(whole).findings) or harm is a_generation
    for number in (70, 71, 72):  # until the generation of the damage has gone
        whole.fill([number])
        whole.index()
    assert look(whole).findings == []


def test_all_harms_at_once_are_all_told(whole):
    for harm in (a_segment, a_blob, a_row, the_count):
        harm(whole)
    assert len(look(whole).findings) == 4


def test_vectors_that_are_not_what_the_bundle_makes(whole):
    other = make_bundle(whole.folder / "other", seed=3)
    verdict = verify(whole.collection, 10, lambda generation, bundle: CountingEncoder(other))
    (finding,) = verdict.findings
    assert "Of 10 pictures that were encoded again" in finding.what
    assert not verdict.agreement.holds


def test_a_picture_that_is_the_same_and_cannot_be_decoded(whole, monkeypatch):
    from model.image import DamagedImage
    from model.transform import Transform

    def refusing(self, data):
        raise DamagedImage("no")

    monkeypatch.setattr(Transform, "__call__", refusing)
    (finding,) = look(whole, 3).findings
    assert finding.what.startswith("3 pictures cannot be decoded")


def test_an_older_format_is_not_changed(whole):
    sql(whole, "UPDATE about SET format = 1")
    before = files(whole.collection)
    (finding,) = look(whole).findings
    assert finding.what.startswith("The catalog has format 1")
    assert files(whole.collection) == before


def test_a_live_collection_is_no_finding(whole, monkeypatch):
    """A job publishes between the looks."""
    keys, once = looks.Upkeep.live_keys, []

    def publishing(self, **options):
        if not once:
            once.append(1)
            whole.fill(range(60, 64))
            whole.index()
        return keys(self, **options)

    monkeypatch.setattr(looks.Upkeep, "live_keys", publishing)
    assert look(whole, 0).findings == []
    assert once == [1]


def test_a_row_whose_id_became_bytes_is_refused_with_a_sentence(whole):
    a_bit_of_a_header(whole)
    catalog = whole.catalog()
    with pytest.raises(CatalogError, match=r"row of .* is damaged"):
        catalog.live(catalog.live_keys().tolist())
    catalog.close()


@pytest.mark.parametrize("name", ["jobs", "current", "changes", "vectors", "quarantine", "sqlite_sequence"])
def test_what_else_is_found_beside_damaged_pages(whole, name):
    number, size = page(whole, name)
    with (whole.collection / FILE).open("r+b") as file:
        file.seek((number - 1) * size)
        file.write(b"\xff" * size)
    (first, *_) = look(whole).findings
    assert (first.what, first.todo) == (
        "Pages of the catalog are damaged.",
        "Restore the last backup with `lookalike restore`.",
    )


def test_a_vector_that_became_text(whole):
    sql(whole, "UPDATE vectors SET vector = 'abc' WHERE rowid = 7")
    assert "1 vectors in the catalog are not what was written." in [finding.what for finding in look(whole, 0).findings]


def test_a_runtime_that_is_not_there_is_no_damage(whole):
    def refusing(generation, bundle):
        raise RuntimeUnavailable("The torch runtime needs torch.")

    (finding,) = verify(whole.collection, 3, refusing).findings
    assert finding.what == "No picture was encoded again. The torch runtime needs torch."
    assert "--sample 0" in finding.todo


def test_a_generation_that_is_swept_meanwhile_is_no_finding(whole):
    once = []

    def sweeping(what: str) -> None:
        if what.startswith("segment") and not once:
            once.append(what)
            whole.fill(range(60, 90))  # a new base: the old segments go
            for number in (90, 91):
                whole.index()
                whole.fill([number])
            whole.index()

    assert verify(whole.collection, advance=sweeping).findings == []
    assert once


def test_a_collection_that_cannot_be_written(whole, monkeypatch):
    """The folder of a root user always can, so the answer of the system is changed."""
    sql(whole)
    before = files(whole.collection)
    names = sorted(path.name for path in whole.collection.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)
        connect, uris = sqlite3.connect, []
        patch.setattr(sqlite3, "connect", lambda name, *args, **options: uris.append(name) or connect(name, *args, **options))
        assert look(whole).findings == []
    assert all("immutable=1" in str(uri) for uri in uris)
    assert (files(whole.collection), sorted(path.name for path in whole.collection.iterdir())) == (before, names)
