"""Lists of pictures: what each row becomes, what stops a job, and that a list is not held in memory."""

import datetime
import json
import tracemalloc
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from miniatures import content, picture, write

from index import blobs, gallery
from index.gallery import Entry, GalleryError, Unreadable, files
from index.job import diff
from index.job.rehearsal import rehearse

ROWS = [
    {"path": "a b/1.png", "id": "one", "price": 2.5, "name": "é", "ok": True, "tags": ["x", "y"]},
    {"path": "2.png", "id": None, "price": None, "name": "", "ok": False, "tags": []},
]


def write_list(folder, suffix: str, rows=ROWS):
    file = folder / f"list{suffix}"
    if suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text('\ufeffpath,id,price,name\r\na b/1.png,one,2.50,é\r\n\r\n2.png,,,"3, 4"\r\n', "utf-8")
    return file


def entries(file) -> dict[str, Entry]:
    found = list(gallery.open(file).scan())
    assert all(isinstance(each, Entry) for each in found), found
    return {entry.id: entry for entry in found}


def reasons(file) -> dict[str, str]:
    return {found.id: found.reason for found in gallery.open(file).scan() if isinstance(found, Unreadable)}


def nested(deep: int):
    return [nested(deep - 1)] if deep else 0


def lines(folder, *rows: str):
    (folder / "list.jsonl").write_text("\n".join(rows))
    return folder / "list.jsonl"


@pytest.mark.parametrize("suffix", gallery.SUFFIXES)
def test_rows_become_entries(tmp_path, suffix):
    write(tmp_path / "a b" / "1.png", 1)
    write(tmp_path / "2.png", 2)
    file = write_list(tmp_path, suffix)
    found = entries(file)
    assert list(found) == ["one", "2.png"]
    assert (found["one"].path, found["2.png"].path) == ("a b/1.png", "")
    assert found["one"].size == len(picture(1))
    assert found["one"].mtime_ns == (tmp_path / "a b" / "1.png").stat().st_mtime_ns
    typed = {} if suffix == ".csv" else {"ok": True, "tags": ["x", "y"]}
    assert found["one"].metadata == {"price": 2.5, "name": "é"} | typed
    opened = gallery.open(file)
    assert (opened.name, opened.root, opened.count()) == (str(file), str(tmp_path), 2)


def test_types_of_parquet(tmp_path):
    write(tmp_path / "1.png", 1)
    row = {
        "path": "1.png",
        "int": 3,
        "nan": float("nan"),
        "day": datetime.date(2026, 11, 27),
        "price": Decimal("2.50"),
        "nested": {"a": [1, None], "when": datetime.date(2026, 1, 2)},
        "size": "XL",
    }
    table = pa.Table.from_pylist([row]).append_column("word", pa.array(["w"]).dictionary_encode())
    pq.write_table(table, tmp_path / "list.parquet")
    assert entries(tmp_path / "list.parquet")["1.png"].metadata == {
        "int": 3,
        "day": "2026-11-27",
        "price": "2.50",
        "nested": {"a": [1, None], "when": "2026-01-02"},
        "size": "XL",
        "word": "w",
    }


def test_columns_of_csv_are_numbers_where_all_values_are(tmp_path):
    for name in ("1.png", "2.png"):
        write(tmp_path / name, 1)
    (tmp_path / "list.csv").write_text("path,id,number,mixed\n1.png,1,10,7\n2.png,2,,x\n")
    found = entries(tmp_path / "list.csv")
    assert found["1"].metadata == {"number": 10, "mixed": "7"}
    assert found["2"].metadata == {"mixed": "x"}


def test_size_and_etag_of_a_list_are_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "look", None)
    one = entries(lines(tmp_path, '{"path": "none.png", "size": 7, "etag": "e1", "name": "n"}'))["none.png"]
    two = entries(lines(tmp_path, '{"path": "none.png", "size": 7, "etag": "e2", "mtime": null}'))["none.png"]
    assert (one.size, one.metadata) == (7, {"name": "n"})
    assert one.mtime_ns != two.mtime_ns
    assert "number of bytes" in reasons(lines(tmp_path, '{"path": "none.png", "size": "XL", "etag": "e1"}'))["none.png"]


def test_a_size_that_is_missing_or_odd_is_the_fault_of_its_row_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "look", lambda *_, **__: (5, 5))
    (tmp_path / "list.csv").write_text("path,size,etag\n1.png,100,a\n2.png,n/a,b\n3.png,,c\n4.png,7.5,d\n")
    found = {each.id: each for each in gallery.open(tmp_path / "list.csv").scan()}
    assert (found["1.png"].size, found["3.png"].size, found["3.png"].metadata) == (100, 5, {"etag": "c"})
    assert all("its size is to be" in found[id].reason for id in ("2.png", "4.png"))

    sizes, ids = [100.0, float("nan"), None, 7.5], [None, None, "three", "four"]
    table = pa.table({"path": ["1.png", "2.png", "3.png", "4.png"], "size": sizes, "etag": list("abcd"), "id": ids})
    pq.write_table(table, tmp_path / "list.parquet")
    found = {each.id: each for each in gallery.open(tmp_path / "list.parquet").scan()}
    assert [getattr(each, "size", None) for each in found.values()] == [100, 5, 5, None]
    assert list(found) == ["1.png", "2.png", "three", "four"]

    table = pa.table({"path": ["1.png"], "id": pa.array([float("nan")]), "name": [float("nan")]})
    pq.write_table(table, tmp_path / "list.parquet")
    (entry,) = gallery.open(tmp_path / "list.parquet").scan()
    assert (entry.id, entry.metadata) == ("1.png", {})


def test_a_row_that_cannot_be_used_keeps_its_id(tmp_path):
    write(tmp_path / "1.png", 1)
    rows = [
        {"id": "no path"},
        {"id": "null", "path": None},
        {"id": 7, "path": 7},
        {"path": "gone.png"},
        {"path": "x" * 300 + ".png", "id": "long name"},
        {"path": "y/" * 2100 + ".png", "id": "long path"},
        {"path": "a\0.png", "id": "null byte"},
        {"path": "1.png", "id": "half", "name": "\ud800"},
        {"path": "1.png", "id": "deep", "name": nested(65)},
        {"path": "1.png", "id": "twice", "name": nested(64)},
        {"path": "1.png", "id": "twice", "name": "second"},
    ]
    file = lines(tmp_path, *map(json.dumps, rows))
    found = reasons(file)
    broken = {"no path", "null", "7", "gone.png", "long name", "long path", "null byte", "half", "deep"}
    assert set(found) == broken | {"twice (line 11)"}
    assert "its 'name' cannot be kept (it is nested more than 64 deep)" in found["deep"]
    assert "Line 1 of the list cannot be used: it has no path." in found["no path"]
    assert "already, which counts" in found["twice (line 11)"]
    assert [each.id for each in gallery.open(file).scan() if isinstance(each, Entry)] == ["twice"]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.csv", b"path\n1.png,2\n", "a.csv, line 2: it has 2 values for 1 columns"),
        ("a.csv", b'path,x\n1.png,"open\n', "a.csv, line 2: this is no CSV"),
        ("a.csv", b'path,x\n1.png,"a"b\n', "goes on after the quote"),
        ("a.csv", b"path,x\n1.png," + b"x" * 200_000 + b"\n", "a.csv, line 2: this is no CSV .a value has more than 131,072"),
        ("a.csv", b"path,x,x\n1.png,2,3\n", "two columns named x"),
        ("a.csv", b"path\n\xff.png\n", "cannot be read as UTF-8"),
        ("a.csv", b"file\n1.png\n", "a.csv, line 2: it has neither a path nor an id"),
        ("a.jsonl", b'{"path": "1.png"}\n{"pa', "a.jsonl, line 2: this is no JSON "),
        ("a.jsonl", b"[1]\n", "a.jsonl, line 1: this is no JSON object"),
        ("a.jsonl", b'{"path": "1.png", "id": true}\n', "line 1: it has neither a path nor an id"),
        ("a.jsonl", b'{"path": "\\ud800"}\n', "line 1: its id is not Unicode text"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_a_list_that_is_broken_stops_the_job(tmp_path, name, data, sentence):
    """Whose row it was cannot be told, so nobody can say what to keep."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(GalleryError, match=sentence):
        gallery.open(tmp_path / name)


@pytest.mark.parametrize("rows", [170, 200])
def test_a_list_that_is_rewritten_while_a_job_reads_it_removes_nothing(shop, monkeypatch, rows):
    """Shorter, as of an exporter that is still at it, and of other lengths: what is read is then neither list."""
    monkeypatch.setattr(diff, "LOOKED_UP", 16)

    def write_rows(count: int, etag: str):
        text = "".join(f"1.png,sku-{n:06},1,{etag},{'x' * 500}\n" for n in range(count))
        (shop.gallery / "list.csv").write_text("path,id,size,etag,text\n" + text)

    def meanwhile(_):
        if done.append(None) or len(done) == 1:
            write_rows(rows, "longer" if rows == 200 else "c")

    shop.fill([1])
    write_rows(200, "a")
    shop.index(shop.gallery / "list.csv")
    before = set(shop.found())
    write_rows(200, "b")
    done = []
    with pytest.raises(GalleryError, match="list"):
        shop.index(shop.gallery / "list.csv", advance=meanwhile)
    assert set(shop.found()) == before


def test_an_id_that_comes_twice_into_a_list_after_it_was_looked_through(tmp_path):
    write(tmp_path / "1.png", 1)
    opened = gallery.open(lines(tmp_path, '{"path": "1.png", "id": "a"}', '{"path": "1.png", "id": "b"}'))
    lines(tmp_path, '{"path": "1.png", "id": "a"}', '{"path": "1.png", "id": "a"}', "")
    with pytest.raises(GalleryError, match="changed while it was read"):
        list(opened.scan())


def test_a_column_of_bytes_is_named(tmp_path):
    pq.write_table(pa.table({"path": ["1.png"], "thumbnail": pa.array([b"x"])}), tmp_path / "list.parquet")
    assert "its 'thumbnail' cannot be kept (a value of the type bytes" in reasons(tmp_path / "list.parquet")["1.png"]


def test_a_large_row_group_is_not_held_in_memory(tmp_path):
    numbers = np.random.default_rng(0)
    texts = [numbers.bytes(500).hex() for _ in range(20_000)]
    columns = {"path": [f"{n}.png" for n in range(20_000)], "size": [1] * 20_000, "etag": ["e"] * 20_000, "text": texts}
    pq.write_table(pa.table(columns), tmp_path / "list.parquet", row_group_size=20_000)
    del columns, texts
    before = pa.total_allocated_bytes()
    held = max(pa.total_allocated_bytes() - before for _ in gallery.open(tmp_path / "list.parquet").scan())
    assert held < 8 * 2**20, "the file has 20 MB"


def test_an_empty_list(tmp_path):
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "a.csv").touch()
    pq.write_table(pa.table({"path": pa.array([], pa.string())}), tmp_path / "a.parquet")
    for suffix in gallery.SUFFIXES:
        assert list(gallery.open(tmp_path / f"a{suffix}").scan()) == []


def test_a_link_to_a_list_keeps_its_own_name(tmp_path):
    write(tmp_path / "1.png", 1)
    lines(tmp_path, '{"path": "1.png"}').rename(tmp_path / "tonight.jsonl")
    (tmp_path / "current.jsonl").symlink_to("tonight.jsonl")
    opened = gallery.open(tmp_path / "current.jsonl")
    assert opened.name == str(tmp_path / "current.jsonl")
    assert [entry.id for entry in opened.scan()] == ["1.png"]


def test_no_bit_that_flips_in_parquet_loses_a_row(tmp_path):
    """It would be taken for a picture that is gone. Checksums are there where the program that wrote the list made some, and
    there are none of the schema: in it, a name may become another."""
    paths = [f"{number}.png" for number in range(50)]
    for path in paths:
        (tmp_path / path).touch()
    rows = {"path": paths, "name": [f"name {number % 7}" for number in range(50)]}
    file, told = tmp_path / "list.parquet", 0
    pq.write_table(pa.table(rows), file, write_page_checksum=True)
    data = file.read_bytes()
    chance = np.random.default_rng()
    for place, bit in zip(chance.permutation(len(data))[:400], chance.integers(0, 8, 400), strict=True):
        flipped = bytearray(data)
        flipped[place] ^= 1 << bit
        file.write_bytes(flipped)
        try:
            assert {found.id for found in gallery.open(file).scan()} == {*paths}, (place, bit)
        except GalleryError:
            told += 1
    assert told > 100


@pytest.mark.parametrize("suffix", gallery.SUFFIXES)
def test_a_list_is_not_held_in_memory(tmp_path, suffix):
    def peak(count: int) -> int:
        rows = [{"path": f"{n:09}.png", "size": 1, "etag": "e", "text": "x" * 500} for n in range(count)]
        file = tmp_path / f"list{suffix}"
        if suffix == ".csv":
            file.write_text("path,size,etag,text\n" + "".join(",".join(map(str, row.values())) + "\n" for row in rows))
        else:
            write_list(tmp_path, suffix, rows)
        del rows
        tracemalloc.start()
        assert sum(1 for _ in gallery.open(file).scan()) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)  # what is imported at the first use
    few, many = peak(2_000), peak(5_000)
    assert many - few < 3_000 * 100, "a row has more than 500 bytes"


def test_an_id_that_ends_like_a_folder_keeps_no_others(shop):
    shop.fill(range(4), folder="shoes")
    rows = [{"id": f"shoes/{n}", "path": f"shoes/{n}.png"} for n in range(4)]
    shop.index(lines(shop.gallery, *map(json.dumps, rows)))
    file = lines(shop.gallery, *map(json.dumps, [*rows[:2], {"id": "shoes/", "path": "gone.png"}]))
    foreseen = rehearse(gallery.open(file), shop.bundle, shop.collection)
    report = shop.index(file)
    assert (report.removed, report.count, set(report.unreadable)) == (2, 2, {"shoes/"})
    assert foreseen.gone == 2


def test_a_job_of_a_list(shop):
    for number in range(3):
        write(shop.folder / "else where" / f"{number}.png", number)
    rows = [{"path": str(shop.folder / "else where" / f"{n}.png"), "id": f"sku-{n}", "n": n} for n in range(3)]
    file = lines(shop.gallery, *map(json.dumps, rows))
    report = shop.index(file)
    assert (report.added, report.encoded, report.unreadable) == (3, 3, {})
    item = shop.found(1)["sku-1"]
    assert (item.origin, item.metadata, item.path) == (str(file), {"n": 1}, rows[1]["path"])
    catalog = shop.catalog()
    assert blobs.read(shop.collection, catalog, item) == picture(1)
    catalog.close()

    (shop.folder / "else where" / "1.png").rename(shop.gallery / "moved.png")
    lines(shop.gallery, *map(json.dumps, [rows[0], rows[1] | {"path": "moved.png"}, {"id": "sku-2"}]))
    report = shop.index(file)
    assert (report.added, report.removed, report.encoded, report.unchanged) == (1, 1, 0, 1)
    assert list(report.unreadable) == ["sku-2"]
    found = shop.found(1)
    assert set(found) == {"sku-0", "sku-1", "sku-2"}, "what cannot be read is kept"
    assert (found["sku-1"].path, found["sku-1"].content) == ("moved.png", content(1))
    assert shop.index(file).added == 0
