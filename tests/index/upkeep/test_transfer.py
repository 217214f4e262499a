"""What is exported and imported is found again as it was; what does not fit is refused whole, with its row."""

import datetime
import decimal
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from miniatures import DIM, CountingEncoder, content, make_bundle, picture

from index import generation as generations
from index.catalog import Patch
from index.lock import Busy, only_job
from index.upkeep import transfer
from index.upkeep.transfer import MARK, Encoded, TransferError, export, take_in
from index.upkeep.verify import verify
from model import Failure
from model import bundle as bundles


@pytest.fixture
def full(shop):
    (shop.gallery / "labels.csv").write_text("path,name,price\n3.png,three ö,3.5\n4.png,four,7\n")
    shop.fill(range(20))
    shop.index(origin="gallery")
    shop.fill([20], folder="a b")
    shop.index(origin="gallery")
    other = shop.folder / "other"
    other.mkdir()
    (other / "50.png").write_bytes((shop.gallery / "1.png").read_bytes())
    shop.index(other)
    catalog = shop.catalog()
    shop.upload(catalog, "mine", 40, {"tags": ["x", "y"], "deep": {"a": [1, None]}})
    catalog.delete("0.png")
    catalog.close()
    return shop


def file(shop):
    return shop.folder / "items.parquet"


def into(shop, path=None, collection=None, **options):
    return take_in(path or file(shop), collection or shop.collection, shop.bundle, shop.encoder, **options)


def unit(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made(shop, ids, vectors, **columns):
    """A file of somebody else."""
    lists = pa.array([None if vector is None else list(map(float, vector)) for vector in vectors], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ids, "vector": lists, **columns}), file(shop))


def rewrite(path, change, keep=True) -> None:
    table = pq.read_table(path)
    changed = change(table)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata if keep else None), path)


def with_column(name, values):
    def change(table):
        number = table.schema.get_field_index(name)
        return table.set_column(number, table.schema.field(number), pa.array(values, table.schema.field(number).type))

    return change


def hits(shop):
    """Ids, scores and all that is known of each."""
    catalog = shop.catalog()
    searcher = shop.searcher(catalog)
    found = [
        (hit.item.id, hit.score, hit.item.origin, hit.item.content, hit.item.metadata, hit.item.size, hit.item.mtime_ns)
        for number in (3, 20, 40)
        for hit in searcher.search(shop.encoder.vectors(shop.encoder.transform(picture(number))[None])[0], 100)
    ]
    catalog.close()
    return sorted(found)


# --- round trips ---


def test_a_round_trip_into_an_empty_collection(full):
    before = hits(full)
    exported = export(full.collection, file(full))
    assert (exported.items, exported.left_out) == (22, 0)
    full.collection = full.folder / "again"
    taken = into(full)
    assert (taken.rows, taken.added, taken.count, taken.kept, taken.made_unit) == (22, 22, 22, 0, 0)
    assert hits(full) == before
    assert full.encoder.encoded == 21


def test_what_the_file_holds(full):
    export(full.collection, file(full))
    table = pq.read_table(file(full))
    assert table.column_names == ["id", "origin", "content", "size", "mtime_ns", "path", "metadata", "vector"]
    assert table.schema.field("vector").type == pa.list_(pa.float32(), DIM)
    about = json.loads(table.schema.metadata[MARK])
    assert (about["format"], about["fingerprint"], about["bundle"]) == (1, full.bundle.fingerprint, "mini")
    row = table.filter(pa.compute.equal(table["id"], "3.png")).to_pylist()[0]
    assert (row["origin"], row["content"]) == ("gallery", content(3))
    assert json.loads(row["metadata"]) == {"name": "three ö", "price": 3.5}
    assert [path.name for path in full.folder.glob(".*")] == []


def test_importing_where_all_is_there_changes_nothing(full):
    export(full.collection, file(full))
    before = full.catalog().state()
    taken = into(full)
    assert (taken.unchanged, taken.added, taken.replaced, taken.kept) == (22, 0, 0, 0)
    assert (taken.count, taken.generation) == (before.count, full.catalog().state().generation)


def test_an_index_job_goes_on_with_what_was_imported(full):
    export(full.collection, file(full))
    full.collection = full.folder / "again"
    into(full)
    encoded = full.encoder.encoded
    report = full.index(origin="gallery")
    assert (report.encoded, report.unchanged, report.added) == (1, 20, 1)  # 0.png, which was deleted over there
    assert full.encoder.encoded == encoded + 1


def test_items_that_lack_a_vector_are_left_out_and_counted(full):
    catalog = full.catalog()
    full.upload(catalog, "waiting", 60, encoder=CountingEncoder(make_bundle(full.folder / "b2", 5)))
    catalog.close()
    assert (export(full.collection, file(full)).items, export(full.collection, file(full)).left_out) == (22, 1)


def test_what_is_empty(shop):
    with pytest.raises(Failure, match="holds no collection yet"):
        export(shop.collection, file(shop))
    shop.index()
    assert export(shop.collection, file(shop)).items == 0
    assert into(shop).rows == 0
    made(shop, pa.array([], pa.string()), [])
    assert into(shop).rows == 0


# --- what is there already ---


def test_ids_that_are_there_stay_and_are_told(full):
    export(full.collection, file(full))
    rewrite(file(full), with_column("metadata", ['{"new": 1}'] * 22))
    taken = into(full)
    assert (taken.kept, taken.added, taken.unchanged) == (22, 0, 0)
    assert {"3.png", "mine", "50.png"} <= set(taken.kept_ids)
    assert full.found()["3.png"].metadata == {"name": "three ö", "price": 3.5}


def test_with_replace_they_take_what_the_file_says(full):
    export(full.collection, file(full))
    rewrite(file(full), with_column("metadata", ['{"new": 1}'] * 22))
    taken = into(full, replace=True)
    assert (taken.replaced, taken.count) == (22, 22)
    found = full.found()
    assert {item.metadata["new"] for item in found.values()} == {1}
    assert found["mine"].origin == "api"


def test_what_was_deleted_stays_deleted(full):
    export(full.collection, file(full))
    catalog = full.catalog()
    catalog.delete("5.png")
    catalog.close()
    taken = into(full)
    assert (taken.stay_deleted, taken.deleted_ids, taken.added) == (1, ["5.png"], 0)
    assert "5.png" not in full.found()
    assert into(full, replace=True).added == 1
    assert "5.png" in full.found()


def test_a_gallerys_item_that_the_service_took_over_and_deleted_stays_deleted(full):
    """What was the service's own from the beginning comes back: nothing keeps that it was deleted."""
    catalog = full.catalog()
    catalog.apply([Patch("5.png", {"x": 1})], full.bundle.fingerprint)
    export(full.collection, file(full))
    catalog.delete("5.png")
    catalog.delete("mine")
    catalog.close()
    taken = into(full)
    assert (taken.deleted_ids, taken.added) == (["5.png"], 1)
    assert "5.png" not in full.found()
    assert "mine" in full.found()


def test_items_of_the_service_come_through_no_job(shop):
    made(shop, ["a", "b"], unit(2))
    taken = into(shop, origin="api")
    assert (taken.rows, taken.added, taken.unchanged, taken.count) == (2, 2, 0, 2)
    catalog = shop.catalog()
    assert "api" not in {job.origin for job in catalog.done().values()}
    catalog.close()


def test_each_gallery_of_a_file_leaves_no_more_segments_than_a_job(shop):
    for number in range(6):
        gallery = shop.folder / f"gallery{number}"
        gallery.mkdir()
        for picture_of in range(number * 5, number * 5 + 5):
            (gallery / f"{picture_of}.png").write_bytes(picture(picture_of))
        shop.index(gallery)
    export(shop.collection, file(shop))
    shop.collection = shop.folder / "again"
    assert into(shop).count == 30
    kept = generations.readable(shop.collection)
    assert len(kept) == 2
    assert {path.name for path in (shop.collection / "segments").iterdir()} == {name for g in kept for name in g.segments}


def test_the_pictures_that_verify_misses_are_with_the_collection_that_was_exported(full):
    export(full.collection, file(full))
    old, full.collection = full.collection, full.folder / "again"
    into(full)
    (finding,) = verify(full.collection).findings
    assert "of the collection whose export was imported" in finding.todo
    (full.collection / "blobs" / content(40)).write_bytes((old / "blobs" / content(40)).read_bytes())
    assert verify(full.collection).findings == []


def test_nothing_of_an_encoder_is_asked_but_what_is_noted(full):
    export(full.collection, file(full))
    full.collection = full.folder / "again"
    taken = take_in(file(full), full.collection, full.bundle, Encoded(full.bundle.fingerprint, DIM, "bf16"))
    generation = generations.read(full.collection, taken.generation)
    assert (generation.precision, generation.runtime) == ("bf16", "import")


def test_two_exports_to_one_file(full, monkeypatch):
    batch, once = transfer._batch, []

    def meanwhile(*args):
        if not once:
            once.append(1)
            catalog = full.catalog()
            for number in range(9):
                full.upload(catalog, f"n{number}", 40 + number, {"text": "x" * number * 50})
            catalog.close()
            assert export(full.collection, file(full)).items == 31
        return batch(*args)

    monkeypatch.setattr(transfer, "_batch", meanwhile)
    export(full.collection, file(full))
    assert pq.read_table(file(full)).num_rows == 22
    assert [path.name for path in full.folder.glob(".*")] == []


def test_where_no_file_can_be(full):
    for to in (full.folder, full.folder / "none" / "items.parquet"):
        with pytest.raises(TransferError, match="cannot be written"):
            export(full.collection, to)


def test_an_open_server_sees_it(full):
    made(full, ["a", "b"], unit(2))
    into(full, origin="api")
    catalog = full.catalog()
    searcher = full.searcher(catalog)
    made(full, ["c"], unit(1, 9))
    into(full, origin="api")
    searcher.follow()
    assert {"a", "b", "c"} <= set(full.look(searcher))
    catalog.close()


# --- files of others ---


def test_bare_vectors_with_typed_columns(shop):
    vectors = unit(3)
    made(
        shop,
        ["a", "ä/ö", "c"],
        vectors,
        price=pa.array([1.5, None, float("nan")]),
        stock=pa.array([1, 2, 3], pa.int8()),
        sold=pa.array([True, None, False]),
        day=pa.array([datetime.date(2026, 1, 2)] * 3),
        cost=pa.array([decimal.Decimal("1.25")] * 3),
        tags=pa.array([["x", None], [], None]),
        kind=pa.array(["k", "k", "l"]).dictionary_encode(),
    )
    taken = into(shop)
    assert (taken.added, taken.made_unit, taken.generation) == (3, 0, 1)
    found = shop.found()
    same = {"day": "2026-01-02", "cost": "1.25", "kind": "k"}
    assert found["a"].metadata == {"price": 1.5, "stock": 1, "sold": True, "tags": ["x", None]} | same
    assert found["ä/ö"].metadata == {"stock": 2, "tags": []} | same
    assert found["a"].content.startswith("vector:")
    assert {item.origin for item in found.values()} == {str(file(shop))}
    catalog = shop.catalog()
    (hit,) = shop.searcher(catalog).search(vectors[1], 1)
    catalog.close()
    assert hit.item.id == "ä/ö"


def test_columns_of_other_programs(shop):
    made(
        shop,
        pa.array(["a", "b"]).dictionary_encode(),
        unit(2),
        at=pa.array([1, 2], pa.timestamp("ns")),
        far=pa.array([2**62, 2], pa.timestamp("us")),
        price=pa.array([float("inf"), 1.0]),
        hour=pa.array([2, 1], pa.time32("s")),
    )
    into(shop)
    found = shop.found()
    assert found["a"].metadata == found["a"].metadata | {"at": "1970-01-01 00:00:00.000000001", "hour": "00:00:02.000"}
    assert "price" not in found["a"].metadata
    assert found["b"].metadata["price"] == 1.0


@pytest.mark.parametrize("type", [pa.float64(), pa.float32(), pa.float16()])
@pytest.mark.parametrize("size", [-1, DIM])
def test_vectors_of_any_floats_are_made_unit(shop, type, size):
    vectors = pa.array([list(map(float, row)) for row in unit(3) * 3], pa.list_(pa.float32()))
    vectors = vectors.cast(pa.list_(type)).cast(pa.list_(type, size))
    pq.write_table(pa.table({"id": ["1", "2", "3"], "vector": vectors}), file(shop))
    assert into(shop, origin="mine").made_unit == 3
    catalog = shop.catalog()
    hits = shop.searcher(catalog).search(unit(3)[0], 3)
    catalog.close()
    assert hits[0].item.id == "1"
    assert abs(hits[0].score - 1) < 1e-3


def test_ids_that_are_numbers(shop):
    made(shop, [7, 8], unit(2))
    into(shop)
    assert set(shop.found()) == {"7", "8"}


def test_a_large_file_in_several_batches(shop):
    made(shop, [f"i{number}" for number in range(7_000)], unit(7_000))
    assert into(shop).count == 7_000
    assert len(shop.found(k=9_000)) == 7_000


BAD = {
    "row 2: there is a vector of 3 numbers, and the bundle makes 16": lambda v: [v[0], v[1][:3], v[2]],
    "row 3: there is no vector": lambda v: [v[0], v[1], None],
    "row 1: the vector holds NaN": lambda v: [v[0] * np.nan, v[1], v[2]],
    "row 2: the vector holds NaN or infinite": lambda v: [v[0], v[1] + np.inf, v[2]],
    "row 3: .* nothing but zeros": lambda v: [v[0], v[1], v[2] * 0],
}


@pytest.mark.parametrize("sentence", BAD)
def test_vectors_that_cannot_be(shop, sentence):
    made(shop, ["a", "b", "c"], BAD[sentence](unit(3)))
    with pytest.raises(TransferError, match=sentence):
        into(shop)
    assert not shop.collection.exists()


def test_the_row_is_counted_over_batches(shop):
    vectors = unit(7_000)
    vectors[6_222] = np.nan
    made(shop, [str(number) for number in range(7_000)], vectors)
    with pytest.raises(TransferError, match="row 6223:"):
        into(shop)


def test_ids_that_cannot_be(shop):
    made(shop, ["a", "b", "a"], unit(3))
    with pytest.raises(TransferError, match="the id 'a' is there more than once"):
        into(shop)
    for nothing in (None, ""):
        made(shop, ["a", nothing], unit(2))
        with pytest.raises(TransferError, match="row 2: there is no id"):
            into(shop)


def test_columns_that_cannot_be(shop):
    pq.write_table(pa.table({"id": ["a"]}), file(shop))
    with pytest.raises(TransferError, match="has no column named vector"):
        into(shop)
    pq.write_table(pa.table({"id": ["a"], "vector": ["x"]}), file(shop))
    with pytest.raises(TransferError, match="the column vector is of type string"):
        into(shop)
    made(shop, ["a"], unit(1), thumb=pa.array([b"x"]))
    with pytest.raises(TransferError, match="the column thumb is of type binary, and cannot be kept"):
        into(shop)


def test_ids_that_are_no_text(shop):
    for ids in (pa.array([["a"]]), pa.array([b"\xff"])):
        made(shop, ids, unit(1))
        with pytest.raises(TransferError, match="the column id is of type"):
            into(shop)


def test_two_columns_of_one_name(shop):
    for names in (["id", "id"], ["id", "x", "x"]):
        columns = [pa.array(["a"])] * len(names)
        vectors = pa.array([list(map(float, unit(1)[0]))], pa.list_(pa.float32()))
        pq.write_table(pa.Table.from_arrays([*columns, vectors], [*names, "vector"]), file(shop))
        with pytest.raises(TransferError, match=rf"has two columns named {names[-1]}\. Rename"):
            into(shop)


# --- what does not fit ---


def read(full) -> list[str]:
    """All that an import would take, in words: arrays are not compared as one."""
    table = transfer._Table(file(full), full.bundle, False)
    table.check("")
    return [repr((row.origin, row.item, row.vector.tolist())) for rows in table.rows("") for row in rows]


def test_no_bit_of_an_export_can_flip_unseen(full):
    """In the schema, of which Parquet keeps no checksum, a type may become another: what is read is the same then."""
    export(full.collection, file(full))
    data, whole, told = file(full).read_bytes(), read(full), 0
    chance = np.random.default_rng()
    for place, bit in zip(chance.permutation(len(data))[:400], chance.integers(0, 8, 400), strict=True):
        flipped = bytearray(data)
        flipped[place] ^= 1 << bit
        file(full).write_bytes(flipped)
        try:
            assert read(full) == whole, (place, bit)
        except TransferError:
            told += 1
    assert told > 150


def test_a_column_that_ends_early_is_seen(full, monkeypatch):
    """pyarrow hands out no rows then, and no error."""
    export(full.collection, file(full))
    monkeypatch.setattr(transfer.pq.ParquetFile, "iter_batches", lambda *_: iter(()))
    with pytest.raises(TransferError, match=r"is damaged \(of \d+ rows, 0 can be read\)\. Make it again\."):
        into(full)


def test_a_name_that_is_no_text(full):
    export(full.collection, file(full))
    data = file(full).read_bytes()
    schema = int.from_bytes(data[-8:-4], "little") + 8  # and what else stands at the end
    file(full).write_bytes(data[:-schema] + data[-schema:].replace(b"mtime_ns", b"mtime\xff\xff\xff"))
    with pytest.raises(TransferError, match="cannot be read as Parquet"):
        into(full)


def test_an_export_that_lost_its_mark(full):
    export(full.collection, file(full))
    rewrite(file(full), lambda table: table, keep=False)
    with pytest.raises(TransferError, match="has the columns of an export, but another program wrote it"):
        into(full)


@pytest.mark.parametrize("mark", [b"1.0", b"x", b"{", b'{"format": 1}', b'{"format": 1, "fingerprint": "abc"}'])
def test_a_mark_that_cannot_be(full, mark):
    export(full.collection, file(full))
    pq.write_table(pq.read_table(file(full)).replace_schema_metadata({MARK: mark}), file(full))
    with pytest.raises(TransferError, match="is not as `lookalike export` writes it"):
        into(full)


@pytest.mark.parametrize(
    ("column", "value"),
    [("metadata", text) for text in ("{", None, "[1]")] + [(name, None) for name in ("path", "origin", "size", "mtime_ns")]
    + [("origin", "")],
)  # fmt: skip
def test_values_that_an_export_cannot_have(full, column, value):
    export(full.collection, file(full))
    values = pq.read_table(file(full))[column].to_pylist()
    rewrite(file(full), with_column(column, [value, *values[1:]]))
    with pytest.raises(TransferError, match=r"row 1: .* is not as `lookalike export` writes it"):
        into(full)


def test_sizes_that_are_text(full):
    export(full.collection, file(full))
    rewrite(file(full), lambda table: table.set_column(3, "size", table["size"].cast(pa.string())))
    with pytest.raises(TransferError, match=r"row 1: .* is not as `lookalike export` writes it"):
        into(full)


@pytest.mark.parametrize("column", ["id", "path"])
@pytest.mark.parametrize("value", ["/etc/passwd", "https://example.com/1.png"])
def test_places_outside_of_a_gallery_need_trust(full, column, value):
    export(full.collection, file(full))
    values = pq.read_table(file(full))[column].to_pylist()
    rewrite(file(full), with_column(column, [value, *values[1:]]))
    full.collection = full.folder / "again"
    with pytest.raises(
        TransferError, match=r"row 1: .* outside of its gallery's folder\. If you trust the file, say --outside"
    ):
        into(full)
    assert into(full, outside=True).count == 22


def test_no_parquet(shop):
    file(shop).write_bytes(b"no parquet")
    with pytest.raises(TransferError, match="cannot be read as Parquet"):
        into(shop)
    with pytest.raises(TransferError, match="cannot be read as Parquet"):
        into(shop, shop.folder / "none")


def test_a_damaged_file_changes_nothing(full):
    export(full.collection, file(full))
    data = bytearray(file(full).read_bytes())
    data[20:400] = bytes(380)
    file(full).write_bytes(data)
    full.collection = full.folder / "again"
    with pytest.raises(TransferError, match="damaged"):
        into(full)
    assert not full.collection.exists()


def test_vectors_of_another_bundle(full):
    export(full.collection, file(full))
    full.use(make_bundle(full.folder / "b2", 5))
    with pytest.raises(TransferError, match="holds vectors of another bundle, mini"):
        into(full)
    made(full, ["a"], unit(1))
    with pytest.raises(TransferError, match="is searched with another bundle"):
        into(full)


@pytest.mark.parametrize(
    ("column", "value"),
    [("content", "../../etc/passwd"), ("content", None), ("id", "../../secret.png"), ("path", "../../secret.png")],
)
def test_a_file_that_would_lead_out_of_its_folder(full, column, value):
    export(full.collection, file(full))
    values = pq.read_table(file(full))[column].to_pylist()
    rewrite(file(full), with_column(column, [value, *values[1:]]))
    with pytest.raises(TransferError, match=r"row 1: .* is not as `lookalike export` writes it"):
        into(full)


def test_not_while_a_job_runs(full):
    export(full.collection, file(full))
    with only_job(full.collection), pytest.raises(Busy, match="Another job is working"):
        into(full)


def test_the_names_of_new_folders_are_on_disk(full, monkeypatch):
    export(full.collection, file(full))
    synced, sync = [], bundles.sync
    monkeypatch.setattr(bundles, "sync", lambda path: (synced.append(path), sync(path)))
    place = full.folder / "new" / "collection"
    into(full, collection=place)
    assert {place, full.folder / "new", full.folder} <= {*synced}
