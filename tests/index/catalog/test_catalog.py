"""The laws that the catalog keeps, one by one. ``test_stateful.py`` plays them against each other."""

import sqlite3

import numpy as np
import pytest
import sqlalchemy as sa

from index.catalog import (
    API_ORIGIN,
    FILE,
    Catalog,
    CatalogError,
    Delete,
    Fault,
    Known,
    NewItem,
    Patch,
    Put,
    Refused,
    State,
    database,
)

F, G = "f" * 64, "g" * 64
VECTOR = np.arange(4, dtype=np.float32)


@pytest.fixture
def catalog(tmp_path):
    catalog = Catalog(tmp_path / "collection", create=True)
    yield catalog
    catalog.close()


def new(id: str, content: str = "a", replaces: int | None = None, **metadata) -> NewItem:
    return NewItem(id, content, metadata, 1, 1, replaces=replaces)


def begin(catalog, origin="gallery", root="/pictures"):
    return catalog.begin(origin, root, F)


def stage(catalog, job, *items: NewItem, known: Known | None = None) -> None:
    known = known or catalog.look_up([item.id for item in items])
    catalog.stage(job, known, items=items, vectors={item.content: VECTOR for item in items})


def index(catalog, *items: NewItem) -> None:
    """A whole job that adds items."""
    job = begin(catalog)
    stage(catalog, job, *items)
    catalog.publish(job, job.number)


def put(catalog, id: str, content: str = "api"):
    return catalog.put(new(id, content), F, VECTOR)


def contents(catalog) -> dict[str, str]:
    """What is live, by every way there is to ask."""
    keys = catalog.live_keys().tolist()
    live = catalog.live(keys)
    assert sorted(live) == keys
    assert catalog.count() == catalog.state().count == len(keys)
    found = {item.id: item.content for item in live.values()}
    assert len(found) == len(keys), "an id is live twice"
    assert {id: item.content for id, item in catalog.find(sorted(found)).items()} == found
    return found


# --- law 1: vectors by content and fingerprint ---


def test_a_vector_is_kept_by_content_and_fingerprint(catalog):
    index(catalog, new("a.png", "bear"))
    assert catalog.without_vector(["bear", "fox"], F) == {"fox"}
    assert catalog.without_vector(["bear"], G) == {"bear"}
    index(catalog, new("renamed.png", "bear"))
    key = catalog.find(["renamed.png"])["renamed.png"].key
    ((item, vector),) = catalog.vectors([key], F, 4)
    assert (item.id, vector.tolist()) == ("renamed.png", VECTOR.tolist())


def test_the_first_vector_of_a_content_stays(catalog):
    put(catalog, "a", "bear")
    catalog.put(new("b", "bear"), F, VECTOR + 1)
    keys = catalog.live_keys().tolist()
    assert [vector.tolist() for _, vector in catalog.vectors(keys, F, 4)] == [VECTOR.tolist()] * 2


# --- law 2: a job is invisible until it publishes, and undone by the next one when it dies ---


def test_a_job_becomes_visible_all_at_once(catalog):
    index(catalog, new("stays"), new("goes"), new("changes", "old"))
    before = contents(catalog)
    known = catalog.look_up(["changes", "comes"])
    job = begin(catalog)
    stage(catalog, job, new("changes", "new", known.items["changes"].key), new("comes"), known=known)
    catalog.remove(job, [catalog.find(["goes"])["goes"].key], [])
    after = {"stays": "a", "changes": "new", "comes": "a"}
    assert contents(catalog) == before
    seen_by_the_job = catalog.live_keys(job=job)
    assert catalog.staged(job) == (2, 2)
    assert catalog.state().generation == 1
    assert catalog.publish(job, 2) == (2, 2)
    assert contents(catalog) == after
    assert catalog.state() == State(2, 0, 3)
    assert catalog.live_keys().tolist() == seen_by_the_job.tolist()


def test_a_searcher_of_the_generation_before_sees_nothing_of_a_later_job(catalog):
    index(catalog, new("a", "old"))
    old = catalog.find(["a"])["a"].key
    index(catalog, new("a", "new", old), new("b"))
    keys = range(1, 10)
    assert {item.content for item in catalog.live(keys, generation=1).values()} == {"old"}
    assert {item.content for item in catalog.live(keys, generation=2).values()} == {"new", "a"}
    put(catalog, "a")
    assert {item.content for item in catalog.live(keys, generation=1).values()} == {"api"}


def test_the_next_job_undoes_one_that_died(catalog, tmp_path):
    index(catalog, new("stays"), new("changes", "old"))
    before = contents(catalog)
    job = begin(catalog)
    known = catalog.look_up(["changes"])
    stage(catalog, job, new("changes", "new", known.items["changes"].key), new("comes", "c"), known=known)
    catalog.remove(job, [catalog.find(["stays"])["stays"].key], [])
    dead = set(catalog.live_keys(job=job).tolist())
    catalog.close()

    again = Catalog(tmp_path / "collection")
    assert contents(again) == before
    next_job = begin(again)
    assert next_job.number > job.number
    assert again.staged(job) == (0, 0)
    assert again.without_vector(["new", "c"], F) == set(), "vectors last"
    stage(again, next_job, new("later"))
    again.publish(next_job, next_job.number)
    assert contents(again) == before | {"later": "a"}
    assert again.find(["later"])["later"].key not in dead, "a key is never used again"
    again.close()


@pytest.mark.parametrize("change", [lambda catalog: put(catalog, "x"), lambda catalog: catalog.delete("x")])
@pytest.mark.parametrize("moment", ["looked", "staged"])
@pytest.mark.parametrize("does", ["replaces", "removes"])
def test_what_the_service_changed_meanwhile_stays(catalog, change, moment, does):
    index(catalog, new("x", "old"), new("other", "old"))
    known = catalog.look_up(["x", "other"])
    keys = {id: item.key for id, item in known.items.items()}
    job = begin(catalog)
    if moment == "looked":
        change(catalog)
    if does == "replaces":
        stage(catalog, job, new("x", "new", keys["x"]), new("other", "new", keys["other"]), known=known)
    else:
        catalog.remove(job, list(keys.values()), [])
    if moment == "staged":
        change(catalog)
    mine = contents(catalog) | {"other": "gone"}
    catalog.publish(job, job.number)
    expected = {id: content for id, content in mine.items() if id == "x"}
    assert contents(catalog) == (expected | {"other": "new"} if does == "replaces" else expected)


def test_a_job_that_knew_of_the_change_is_not_held_up(catalog):
    """Deleted while the job ran but before it came there; the file had changed: its new version is not the deleted one."""
    index(catalog, new("x", "old"))
    job = begin(catalog)
    catalog.delete("x")
    known = catalog.look_up(["x"])
    assert known.graves["x"].content == "old"
    stage(catalog, job, new("x", "new"), known=known)
    catalog.publish(job, job.number)
    assert contents(catalog) == {"x": "new"}


def test_an_id_that_came_from_both_sides_at_once_is_the_services(catalog):
    known = catalog.look_up(["x"])
    job = begin(catalog)
    stage(catalog, job, new("x", "file"), known=known)
    put(catalog, "x")
    catalog.publish(job, job.number)
    assert contents(catalog) == {"x": "api"}


def test_a_part_of_a_job_is_kept_whole_or_not_at_all(catalog):
    job = begin(catalog)
    with pytest.raises(TypeError, match="not JSON serializable"):
        stage(catalog, job, new("a"), new("b", name=object()))
    with pytest.raises(TypeError, match="not JSON serializable"):
        catalog.put(new("c", name=object()), F, VECTOR)
    assert catalog.staged(job) == (0, 0)
    assert catalog.without_vector(["a"], F) == {"a"}
    stage(catalog, job, new("a"))
    catalog.publish(job, job.number)
    assert contents(catalog) == {"a": "a"}


# --- law 3: an id has one owner; a deleted one stays deleted until its file changes ---


def test_put_takes_over_and_delete_leaves_a_grave(catalog):
    index(catalog, new("x", "file"))
    item = put(catalog, "x")
    assert (catalog.find(["x"])["x"].origin, item.origin) == (API_ORIGIN, API_ORIGIN)
    assert catalog.live_keys(origin="gallery").tolist() == []
    assert catalog.delete("x")
    assert not catalog.delete("x")
    assert catalog.look_up(["x"]).graves["x"].content == "file"
    index(catalog, new("x", "new file"))
    assert catalog.look_up(["x"]).graves == {}
    assert contents(catalog) == {"x": "new file"}


def test_what_was_never_in_a_gallery_has_no_grave(catalog):
    put(catalog, "x")
    catalog.delete("x")
    assert catalog.look_up(["x"]) == Known({}, {}, 2)


def test_what_a_job_removed_has_no_grave(catalog):
    index(catalog, new("x"))
    job = begin(catalog)
    catalog.remove(job, catalog.live_keys().tolist(), [])
    catalog.publish(job, job.number)
    assert catalog.look_up(["x"]).graves == {}


def test_a_staged_item_cannot_be_deleted_yet(catalog):
    job = begin(catalog)
    stage(catalog, job, new("x"))
    assert not catalog.delete("x")
    catalog.publish(job, job.number)
    assert contents(catalog) == {"x": "a"}


def test_keys_by_origin_and_folder(catalog):
    index(catalog, *(new(id) for id in ("a/1", "a/b/2", "a0", "a", "a!/3", "b/4")))
    put(catalog, "a/5")
    ids = {item.key: item.id for item in catalog.find(["a/1", "a/b/2", "a0", "a", "a!/3", "b/4", "a/5"]).values()}
    assert {ids[key] for key in catalog.live_keys(origin="gallery", below="a/")} == {"a/1", "a/b/2"}
    assert {ids[key] for key in catalog.live_keys(below="a/")} == {"a/1", "a/b/2", "a/5"}
    assert {ids[key] for key in catalog.live_keys(origin=API_ORIGIN)} == {"a/5"}


def test_the_pictures_of_an_origin_are_where_it_was_published_last(catalog):
    """A job that is refused, because it was pointed at an empty folder, must not lead the service there."""
    assert catalog.root("gallery") is None
    job = begin(catalog, root="/old")
    assert catalog.root("gallery") is None
    catalog.publish(job, None)
    begin(catalog, root="/empty")
    assert str(catalog.root("gallery")) == "/old"
    catalog.publish(begin(catalog, root="/new"), None)
    assert str(catalog.root("gallery")) == "/new"


def test_lost_are_those_neither_changed_nor_renamed(catalog):
    index(catalog, new("same"), new("changed", "old"), new("renamed", "bear"), new("lost", "gone"))
    known = catalog.look_up(["changed"])
    job = begin(catalog)
    stage(catalog, job, new("changed", "new", known.items["changed"].key), new("new name", "bear"), known=known)
    catalog.remove(job, [item.key for item in catalog.find(["renamed", "lost"]).values()], [])
    assert catalog.lost(job) == 1


# --- edits: many at once, each only if what is there is what was expected ---


def test_edits_are_made_in_their_order(catalog):
    index(catalog, new("file", "f"), new("other", "o"))
    edits = [
        Put(new("x", "first"), VECTOR),
        Put(new("x", "second"), VECTOR),
        Patch("x", {"name": "bear"}),
        Patch("file", {"name": "fox"}),
        Delete("other"),
        Delete("other"),
        Put(new("y"), VECTOR),
        Delete("y"),
        Patch("y", {}),
    ]
    first, second, patched, taken, *rest = catalog.apply(edits, F)
    assert rest[0] is None
    assert rest[1] == Refused("other", None)
    assert (rest[2].content, rest[3], rest[4]) == ("a", None, Refused("y", None))
    assert (first.content, second.content, patched.content, patched.metadata) == ("first", "second", "second", {"name": "bear"})
    assert (taken.content, taken.origin, taken.metadata) == ("f", API_ORIGIN, {"name": "fox"})
    assert contents(catalog) == {"x": "second", "file": "f"}
    assert catalog.find(["x", "file"]) == {"x": patched, "file": taken}
    log = [(change.id, change.key) for change in catalog.changes(0)]
    ids = ["x", "x", "x", "file", "other", "y", "y"]
    assert log == list(zip(ids, [first.key, second.key, patched.key, taken.key, None, rest[2].key, None], strict=True))
    assert set(catalog.look_up(["file", "other"]).graves) == {"other"}
    assert catalog.delete("file") and set(catalog.look_up(["file", "other"]).graves) == {"file", "other"}


def test_keys_of_edits_are_never_used_again(catalog):
    index(catalog, new("a"))
    (item,) = catalog.apply([Put(new("x"), VECTOR)], F)
    job = begin(catalog)
    stage(catalog, job, new("b"))
    (staged,) = set(catalog.live_keys(job=job)) - set(catalog.live_keys())
    begin(catalog)  # undoes it
    (again,) = catalog.apply([Put(new("y"), VECTOR)], F)
    assert item.key < staged < again.key


def test_an_edit_of_another_version_is_refused(catalog):
    item = put(catalog, "x")
    newer = put(catalog, "x", "newer")
    late = item.key
    edits = [Put(new("x"), VECTOR, late), Patch("x", {}, late), Delete("x", late), Put(new("y", "unseen"), VECTOR, late)]
    assert catalog.apply(edits, F) == [Refused("x", newer)] * 3 + [Refused("y", None)]
    assert contents(catalog) == {"x": "newer"}
    assert catalog.state().change == 2
    assert catalog.without_vector(["unseen"], F) == {"unseen"}
    patched, gone = catalog.apply([Patch("x", {"n": 1}, newer.key), Delete("x", newer.key)], F)
    assert gone == Refused("x", patched)
    assert catalog.apply([Delete("x", patched.key)], F) == [None]


def test_a_patch_keeps_content_and_vector(catalog):
    put(catalog, "x", "bear")
    (patched,) = catalog.apply([Patch("x", {"name": "bear"})], G)
    assert catalog.pending(F) == []
    ((item, vector),) = catalog.vectors([patched.key], F, 4)
    assert (item, vector.tolist()) == (patched, VECTOR.tolist())


# --- laws 4 and 6: followers ---


def test_changes_tell_followers_what_the_service_did(catalog):
    index(catalog, new("a"))
    first = put(catalog, "x")
    second = put(catalog, "x", "other")
    catalog.delete("x")
    log = [(change.number, change.id, change.key) for change in catalog.changes(0)]
    assert log == [(1, "x", first.key), (2, "x", second.key), (3, "x", None)]
    assert [change.number for change in catalog.changes(2)] == [3]
    assert catalog.state() == State(1, 3, 1)


def test_pending_items_are_announced_once_they_have_a_vector(catalog):
    item = put(catalog, "x", "bear")
    assert catalog.pending(F) == []
    assert catalog.pending(G) == [item]
    catalog.add_pending(G, [item], {"bear": VECTOR})
    assert catalog.pending(G) == []
    assert catalog.changes(1)[0].key == item.key


# --- quarantine ---


def test_quarantine(catalog):
    job = begin(catalog)
    faults = [Fault("a.png", "broken", 5, 6), Fault("b.png", "gone")]
    catalog.stage(job, catalog.look_up([]), faults=faults)
    catalog.stage(job, catalog.look_up([]), faults=[Fault("a.png", "still broken", 7, 8)])
    assert catalog.quarantined("gallery") == {"a.png": Fault("a.png", "still broken", 7, 8), "b.png": faults[1]}
    assert catalog.quarantined("other") == {}
    catalog.remove(job, [], ["a.png"])
    assert set(catalog.quarantined("gallery")) == {"b.png"}


# --- damage ---


def _sql(catalog, statement: str) -> None:
    with sqlite3.connect(catalog.path) as connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("damage", ["vector = x'00000000000000000000000000000001'", "vector = x'00'"])
def test_a_damaged_vector_is_told(catalog, damage):
    index(catalog, new("x.png"))
    _sql(catalog, f"UPDATE vectors SET {damage}")
    with pytest.raises(CatalogError, match=r"the vector of 'x\.png' is damaged"):
        list(catalog.vectors([1], F, 4))


@pytest.mark.parametrize("column", ["id", "origin", "content", "metadata"])
def test_a_damaged_row_is_told(catalog, column):
    index(catalog, new("x.png"))
    _sql(catalog, f"UPDATE items SET {column} = {column} || ' '")
    with pytest.raises(CatalogError, match="is damaged"):
        catalog.live([1])


def test_there_is_no_collection_yet(tmp_path):
    with pytest.raises(CatalogError, match="holds no collection yet"):
        Catalog(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / FILE).touch()  # a job died before its first commit
    with pytest.raises(CatalogError, match="holds no collection yet"):
        Catalog(tmp_path)
    Catalog(tmp_path, create=True).close()
    Catalog(tmp_path).close()


def test_a_newer_format_is_told(catalog, tmp_path):
    _sql(catalog, "UPDATE about SET format = 99")
    with pytest.raises(CatalogError, match="has format 99; this version of Lookalike reads formats up to 2"):
        Catalog(tmp_path / "collection")


@pytest.mark.parametrize("create", [False, True])
def test_a_file_that_is_no_database(tmp_path, create):
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(CatalogError, match=r"is damaged \(file is not a database\).*lookalike restore"):
        Catalog(tmp_path, create=create)


@pytest.mark.parametrize("name", ["a?mode=memory", "a#b", "a%20b", "ä b"])
def test_any_folder_name_will_do(tmp_path, name):
    catalog = Catalog(tmp_path / name, create=True)
    index(catalog, new("x"))
    catalog.close()
    assert (tmp_path / name / FILE).is_file()
    again = Catalog(tmp_path / name)
    assert contents(again) == {"x": "a"}
    again.close()


# --- what must not scan two million rows ---


def test_ids_and_keys_are_looked_up_by_their_index(catalog):
    """SQLite prefers the index of ``added_by``, under which nearly all rows are alike, once a list is long."""
    statements = []
    sa.event.listen(catalog._engine, "before_cursor_execute", lambda *given: statements.append(given[2:4]))
    ids = [str(number) for number in range(400)]
    catalog.look_up(ids)
    catalog.find(ids)
    catalog.live(range(400), generation=7)
    list(catalog.vectors(range(400), F, 4))
    catalog.without_vector(ids, F)
    catalog.put(new("x"), F, VECTOR)
    catalog.delete("x")
    plans = []
    with sqlite3.connect(catalog.path) as connection:
        for statement, values in statements:
            if "items" in statement or "vectors" in statement:
                steps = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values or ()).fetchall()
                plans += [step[3] for step in steps if "items" in step[3] or "vectors" in step[3]]
    connection.close()
    assert len(plans) >= 8
    slow = [plan for plan in plans if plan.startswith("SCAN") or "added_by" in plan]
    assert slow == []


def test_a_catalog_that_was_taken_away_is_not_made_anew_by_who_asks(catalog):
    index(catalog, new("a"))
    asking = Catalog(catalog.path.parent)
    catalog.path.rename(catalog.path.with_name("away"))
    with asking.reading() as held, pytest.raises(CatalogError):  # so that the next one needs a new connection
        held.execute(sa.text("SELECT 1"))
        asking.select("SELECT 1 FROM items", ())
    assert not catalog.path.exists()
    asking.close()


def test_who_waits_too_long_for_another_writer_is_told(catalog, monkeypatch):
    put(catalog, "a")
    monkeypatch.setattr(database, "_WAIT", 1)
    waiting = Catalog(catalog.path.parent)
    with catalog.writing(), pytest.raises(CatalogError, match="Another process has been writing"):
        put(waiting, "b")
    put(waiting, "b")
    waiting.close()
