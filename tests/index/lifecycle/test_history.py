"""Going back to a generation that is kept, forward again, and on from there."""

import numpy as np
import pytest
from miniatures import DIM, TRANSFORM, CountingEncoder, content, make_bundle, picture, write

from index import catalog as catalogs
from index import generation as generations
from index.catalog import CatalogError, NewItem, Put, content_of
from index.generation import GenerationError
from index.lifecycle import history
from index.lifecycle.publish import PublishError, leave_behind
from index.lock import Busy, only_job
from index.search.searcher import Searcher
from index.search.segment import SegmentError
from model.bundle import BundleError


@pytest.fixture
def catalog(shop):
    """Generation 1 has 0 to 19; in 2, 1 has another picture, 2 is gone, 20 came."""
    shop.fill(range(20))
    shop.index(origin="gallery")
    write(shop.gallery / "1.png", 101)
    (shop.gallery / "2.png").unlink()
    shop.fill([20])
    shop.index(origin="gallery")
    catalog = shop.catalog()
    yield catalog
    catalog.close()


FIRST = {f"{number}.png": content(number) for number in range(20)}
SECOND = {f"{number}.png": content(number) for number in (0, *range(3, 21))} | {"1.png": content(101)}


def live(catalog) -> dict[str, str]:
    found = catalog.live(catalog.live_keys().tolist())
    assert catalog.count() == len(found)
    return {item.id: item.content for item in found.values()}


def look(shop, searcher) -> dict[str, str]:
    return {id: item.content for id, item in shop.look(searcher).items()}


def test_back_and_forward_again(shop, catalog):
    searcher = shop.searcher(catalog)
    history.roll_back(catalog, shop.collection)
    assert (catalog.state().generation, live(catalog)) == (1, FIRST)
    assert look(shop, searcher) == SECOND, "who has not followed yet sees its generation whole"
    assert look(shop, shop.searcher(catalog)) == FIRST
    history.roll_back(catalog, shop.collection, 2)
    assert (catalog.state().generation, live(catalog)) == (2, SECOND)
    assert look(shop, searcher) == look(shop, shop.searcher(catalog)) == SECOND


def test_the_next_job_does_again_what_was_rolled_back(shop, catalog):
    history.roll_back(catalog, shop.collection)
    encoded = shop.encoder.encoded
    report = shop.index(origin="gallery")
    assert (report.generation, report.added, report.removed, report.encoded) == (3, 2, 2, 0)
    assert shop.encoder.encoded == encoded
    assert live(catalog) == look(shop, shop.searcher(catalog)) == SECOND
    with pytest.raises(GenerationError, match="Generation 2 is not kept"):
        history.roll_back(catalog, shop.collection, 2)


def test_the_next_job_lets_servers_follow_before_it_forgets(shop, catalog, monkeypatch):
    searcher, slept = shop.searcher(catalog), []
    history.roll_back(catalog, shop.collection)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert look(shop, searcher) == SECOND, "nothing is undone before"

    monkeypatch.setattr(catalogs.catalog, "FOLLOWED", 7.0)
    monkeypatch.setattr(catalogs.catalog.time, "sleep", sleep)
    shop.index(origin="gallery")
    shop.index(origin="gallery")
    assert slept == [7.0], "once, and not where nothing was rolled back"


@pytest.mark.parametrize("dies_after", [None, 1, 2])
def test_much_is_undone_in_pieces_and_the_next_job_takes_up_the_rest(shop, catalog, monkeypatch, dies_after):
    history.roll_back(catalog, shop.collection)
    pieces, undo = [], catalogs.queries.undo

    def piece(rows, number: int) -> int:
        if len(pieces) == dies_after:
            raise KeyboardInterrupt
        pieces.append(undo(rows, number))
        return pieces[-1]

    monkeypatch.setattr(catalogs.queries, "AT_ONCE", 1)
    monkeypatch.setattr(catalogs.queries, "undo", piece)
    if dies_after is not None:
        with pytest.raises(KeyboardInterrupt):
            shop.index(origin="gallery")
        assert live(catalog) == look(shop, shop.searcher(catalog)) == FIRST
        with pytest.raises(GenerationError, match="not kept"):
            history.roll_back(catalog, shop.collection, 2)  # half of it is undone
        monkeypatch.setattr(catalogs.queries, "undo", undo)
    report = shop.index(origin="gallery")
    assert (report.added, report.removed, report.encoded) == (2, 2, 0) and live(catalog) == SECOND
    assert dies_after is not None or len(pieces) == 3


def test_what_the_service_changed_beside_a_job_is_counted_once(shop, monkeypatch):
    shop.fill(range(3), "kind")
    shop.index(origin="gallery")
    for number in range(3):
        write(shop.gallery / f"kind/{number}.png", 10 + number)
    catalog, written = shop.catalog(), generations.write

    def when_its_segment_is_written(*arguments) -> None:
        shop.upload(catalog, "kind/0.png", 50)
        catalog.delete("kind/1.png")
        written(*arguments)

    monkeypatch.setattr(generations, "write", when_its_segment_is_written)
    shop.index(origin="gallery")
    searcher = shop.searcher(catalog)
    assert sorted(shop.look(searcher)) == ["kind/0.png", "kind/2.png"]
    assert sorted(searcher.facets("id", 9)) == [("kind/0.png", 1), ("kind/2.png", 1)]
    catalog.close()


def test_a_file_that_was_mended_is_read_after_a_rollback(shop):
    shop.fill(range(3))
    shop.index(origin="gallery")
    write(shop.gallery / "1.png", b"no picture")
    write(shop.gallery / "3.png", b"no picture")
    write(shop.gallery / "4.png", 4)
    shop.index(origin="gallery")
    write(shop.gallery / "1.png", 101)
    write(shop.gallery / "3.png", 3)
    shop.index(origin="gallery")
    catalog = shop.catalog()
    for number in (2, 1):
        history.roll_back(catalog, shop.collection, number)
    assert live(catalog) == {f"{number}.png": content(number) for number in range(3)}
    shop.index(origin="gallery")
    assert live(catalog) == {f"{number}.png": content(number) for number in (0, 2, 3, 4)} | {"1.png": content(101)}
    catalog.close()


def test_what_the_service_changed_stays_as_it_left_it(shop, catalog):
    shop.upload(catalog, "1.png", 50)
    assert catalog.delete("20.png")
    history.roll_back(catalog, shop.collection)
    shop.upload(catalog, "2.png", 52)
    assert catalog.delete("5.png")
    mine = {"1.png": content(50), "2.png": content(52)}
    back = {id: hash for id, hash in FIRST.items() if id != "5.png"} | mine
    assert live(catalog) == look(shop, shop.searcher(catalog)) == back
    history.roll_back(catalog, shop.collection, 2)
    forward = {id: hash for id, hash in SECOND.items() if id not in ("5.png", "20.png")} | mine
    assert live(catalog) == look(shop, shop.searcher(catalog)) == forward


def test_what_the_service_deleted_after_a_rollback_stays_deleted(shop, catalog):
    """Its file has not changed since, though the version that was searched then was an older one."""
    history.roll_back(catalog, shop.collection)
    assert catalog.delete("1.png")
    assert shop.index(origin="gallery").kept_deleted == 1
    assert "1.png" not in live(catalog)
    write(shop.gallery / "1.png", 201)
    shop.index(origin="gallery")
    assert live(catalog)["1.png"] == content(201)


def test_a_rollback_takes_the_bundle_back_too(shop, catalog):
    old = shop.bundle
    shop.use(make_bundle(shop.folder / "new", seed=1))
    shop.index(origin="gallery")
    assert history.roll_back(catalog, shop.collection).fingerprint == old.fingerprint
    shop.encoder = CountingEncoder(old)
    assert look(shop, shop.searcher(catalog)) == SECOND


def test_what_is_told_of_generations(shop, catalog):
    history.roll_back(catalog, shop.collection)
    first, second = history.kept(catalog, shop.collection)
    assert (first.number, first.state, first.items, first.added, first.removed) == (1, "current", 20, 20, 0)
    assert (second.number, second.state, second.items, second.added, second.removed) == (2, "rolled back", 20, 2, 2)
    assert (first.bundle, first.fingerprint, first.recall) == ("mini", shop.bundle.fingerprint, 1.0)
    assert 0 < first.published < second.published
    history.roll_back(catalog, shop.collection, 2)
    assert [each.state for each in history.kept(catalog, shop.collection)] == ["kept", "current"]


@pytest.mark.parametrize(
    ("harm", "failure"),
    [
        (lambda place: next(place.glob("segments/00000001/vectors.f32")).write_bytes(b"no vectors"), SegmentError),
        (lambda place: (place / "generations/1.json").write_text("{}"), GenerationError),
        (lambda place: (place / "generations/1.json").unlink(), GenerationError),
        (lambda place: next(place.glob("bundles/*/weights.safetensors")).unlink(), BundleError),
    ],
)
def test_what_is_not_whole_is_not_gone_back_to(shop, catalog, harm, failure):
    harm(shop.collection)
    with pytest.raises(failure):
        history.roll_back(catalog, shop.collection)
    assert (catalog.state().generation, live(catalog)) == (2, SECOND)


def test_a_generation_that_is_not_whole_is_listed(shop, catalog):
    (shop.collection / "segments/00000001/segment.json").unlink()
    assert [each.recall for each in history.kept(catalog, shop.collection)] == [None, 1.0]


def test_not_beside_a_job_and_not_to_what_is_not_there(shop, catalog):
    with only_job(shop.collection), pytest.raises(Busy):
        history.roll_back(catalog, shop.collection)
    with pytest.raises(GenerationError, match=r"Generation 7 is not kept in .*: 1, 2"):
        history.roll_back(catalog, shop.collection, 7)
    history.roll_back(catalog, shop.collection)
    with pytest.raises(GenerationError, match="no way back"):
        history.roll_back(catalog, shop.collection)
    with pytest.raises(CatalogError, match="No job published a generation 0"):
        catalog.roll_back(0)


# --- items that came as bare vectors ---


def bare(catalog, shop, id: str = "bare") -> np.ndarray:
    vector = shop.encoder.vectors(TRANSFORM(picture(7))[None])[0]
    catalog.apply([Put(NewItem(id, content_of(vector), {}, 4 * DIM, 0), vector)], shop.bundle.fingerprint)
    return vector


def test_a_bare_vector_is_found_and_indexed(shop, catalog):
    vector = bare(catalog, shop)
    assert {hit.item.id for hit in shop.searcher(catalog).search(vector, 2)} == {"7.png", "bare"}
    shop.fill([21])
    report = shop.index(origin="gallery")
    assert (report.pending, report.count) == (0, 22)
    searcher = Searcher(shop.collection, catalog, 3, DIM)
    assert {hit.item.id for hit in searcher.search(vector, 2)} == {"7.png", "bare"}


def test_a_bare_vector_cannot_follow_a_new_bundle(shop, catalog):
    bare(catalog, shop)
    shop.use(make_bundle(shop.folder / "new", seed=1))
    with pytest.raises(PublishError, match="1 items came as vectors without a picture"):
        shop.index(origin="gallery")
    assert (catalog.state().generation, catalog.count()) == (2, 21)


def test_a_bare_vector_is_left_behind_where_that_is_wanted_and_a_rollback_brings_it_back(shop, catalog):
    bare(catalog, shop)
    job = catalog.begin("gallery", shop.gallery, "of another bundle")
    assert catalog.staged(job) == (0, 0)
    waiting = catalog.pending(job.fingerprint, job)
    leave_behind(catalog, job, drop=True)
    left = catalog.pending(job.fingerprint, job)
    assert [item.id for item in waiting if item not in left] == ["bare"]
    assert catalog.staged(job) == (0, 1)
    catalog.publish(job, job.number)
    assert catalog.find(["bare"]) == {}
    catalog.roll_back(2)
    assert catalog.find(["bare"])["bare"].origin == "api"
    job = catalog.begin("gallery", shop.gallery, shop.bundle.fingerprint)
    leave_behind(catalog, job, drop=False)
    assert catalog.pending(job.fingerprint, job) == []
