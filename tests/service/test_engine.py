"""The engine over real collections: what it takes up, what it holds on to, and what it lets go."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from odd_ids import NAMES

import service.engine
from index import generation as generations
from index.catalog import Catalog
from index.job import job
from index.lifecycle import history
from index.search.searcher import Searcher
from model.encoder import open_encoder
from service.engine import Engine, NotReady


@pytest.fixture
def engine(fresh):
    engine = Engine(fresh, "openvino", None, 80_000_000)
    assert engine.follow()
    yield engine
    engine.close()


@pytest.fixture
def also(fresh):
    """A second server's engine over the same collection."""
    engine = Engine(fresh, "openvino", None, 80_000_000)
    assert engine.follow()
    yield engine
    engine.close()


def ids(engine, picture, k=100):
    return [hit.item.id for hit in engine.search(picture, k).hits]


def reindex(gallery, bundle, collection):
    return job.run(gallery, bundle, open_encoder(bundle, "openvino"), collection)


def test_changes_of_another_server(engine, also, another, picture):
    engine.put("new", another, {})
    assert ids(engine, another)[0] == "new"
    assert also.follow()
    assert ids(also, another)[0] == "new"
    assert also.count == len(NAMES) + 1
    engine.delete("plain.png")
    assert "plain.png" not in ids(also, picture)  # before it follows


def test_a_new_generation_takes_the_old_ones_place_without_a_failed_search(engine, gallery, fresh, other_backbone, picture):
    old, stop = engine.serving.bundle.fingerprint, threading.Event()

    def searching():
        answers = []
        while not stop.is_set():
            answers.append(engine.search(picture, 3))
        return answers

    with ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(searching) for _ in range(2)]
        reindex(gallery, other_backbone, fresh)
        assert engine.follow()
        engine.search(picture, 3)
        stop.set()
        answers = [answer for client in clients for answer in client.result()]
    assert {answer.serving.bundle.fingerprint for answer in answers} >= {old}
    assert engine.serving.bundle.fingerprint == other_backbone.fingerprint
    for answer in answers:
        assert answer.serving.encoder.fingerprint == answer.serving.searcher.generation.fingerprint
        assert answer.hits[0].item.id == "plain.png"
        assert answer.hits[0].score >= 0.9999


def test_a_generation_of_the_same_bundle_keeps_the_encoder(engine, gallery, backbone, fresh, another, tmp_path):
    more = shutil.copytree(gallery, tmp_path / "gallery")
    (more / "more.png").write_bytes(another)
    encoder = engine.serving.encoder
    job.run(more, backbone, encoder, fresh, origin=str(gallery))
    assert engine.follow()
    assert engine.serving.encoder is encoder
    assert ids(engine, another)[0] == "more.png"


def test_a_generation_that_does_not_load_leaves_the_old_one_at_work(
    engine, also, gallery, fresh, other_backbone, another, picture, caplog
):
    before = engine.serving
    reindex(gallery, other_backbone, fresh)
    file = generations.path(fresh, before.searcher.generation.number + 1)
    whole = file.read_text()
    file.write_text("{")
    assert [engine.follow() for _ in range(3)] == [False] * 3
    assert len([record for record in caplog.records if str(file) in record.getMessage()]) == 1
    assert engine.serving is before
    engine.put("mine", another, {})
    assert ids(engine, another)[0] == "mine"
    also.put("theirs", picture, {})
    assert not engine.follow()
    assert "theirs" in ids(engine, picture)
    file.write_text(whole)
    assert engine.follow()
    assert engine.serving.bundle.fingerprint == other_backbone.fingerprint
    assert {"mine", "theirs"} <= set(ids(engine, picture))


def test_a_put_waits_for_no_model_and_is_found_before_and_after_the_swap(
    engine, gallery, fresh, other_backbone, another, monkeypatch
):
    loading, go_on = threading.Event(), threading.Event()

    def slowly(*arguments):
        searcher = Searcher(*arguments)
        loading.set()
        assert go_on.wait(60)
        return searcher

    reindex(gallery, other_backbone, fresh)
    monkeypatch.setattr(service.engine, "Searcher", slowly)
    follower = threading.Thread(target=engine.follow)
    follower.start()
    assert loading.wait(60)
    engine.put("new", another, {})  # hangs here if it has to wait
    assert ids(engine, another)[0] == "new"
    go_on.set()
    follower.join()
    assert engine.serving.bundle.fingerprint == other_backbone.fingerprint
    assert ids(engine, another)[0] == "new"


def test_what_a_server_took_in_with_the_bundle_before_is_caught_up(engine, also, gallery, fresh, other_backbone, another):
    reindex(gallery, other_backbone, fresh)
    assert also.follow()
    engine.put("late", another, {})  # this one has not swapped yet
    assert also.follow()
    answer = also.search(another, 1)
    assert (answer.hits[0].item.id, answer.serving.searcher.pending) == ("late", 0)
    assert answer.hits[0].score >= 0.9999


def test_many_that_wait_are_caught_up_in_turn_with_changes(
    engine, also, gallery, fresh, other_backbone, another, picture, monkeypatch
):
    monkeypatch.setattr(service.engine, "_AT_ONCE", 0.0)  # one at a time
    reindex(gallery, other_backbone, fresh)
    assert also.follow()
    for number, data in enumerate((another, picture, another + b"1", another + b"2")):
        engine.put(f"late{number}", data, {})
    waiting = []
    while (left := also.serving.searcher.pending) or not waiting:
        assert also.follow()
        waiting.append(also.serving.searcher.pending)
        assert len(waiting) < 20 and (not left or waiting[-1] < left), "each time at least one is caught up"
        engine.delete("late1")
    assert len(waiting) > 1 and {"late0", "late2", "late3"} <= set(ids(also, another)) and "late1" not in ids(also, another)


def test_a_generation_that_is_rolled_back_while_it_is_loaded_is_not_served(
    engine, gallery, fresh, other_backbone, picture, monkeypatch
):
    before = engine.serving.searcher.generation.number
    reindex(gallery, other_backbone, fresh)

    def rolled_back(*arguments):
        searcher = Searcher(*arguments)
        if searcher.generation.number != before:
            catalog = Catalog(fresh)
            history.roll_back(catalog, fresh)
            catalog.close()
        return searcher

    monkeypatch.setattr(service.engine, "Searcher", rolled_back)
    assert engine.follow() and engine.serving.searcher.generation.number == before
    assert engine.follow() and engine.serving.searcher.generation.number == before
    assert ids(engine, picture)


def test_a_collection_that_is_taken_away_and_put_back(engine, fresh, picture, tmp_path):
    kept = shutil.copytree(fresh, tmp_path / "kept")
    shutil.rmtree(fresh)
    assert engine.follow()
    with pytest.raises(NotReady, match="lookalike index GALLERY"):
        engine.search(picture, 1)
    with pytest.raises(NotReady):
        engine.item("plain.png")
    assert not fresh.exists()
    kept.rename(fresh)
    assert engine.follow()
    assert ids(engine, picture)[0] == "plain.png"


def test_another_collection_in_the_same_place(engine, fresh, gallery, backbone, picture, another, tmp_path):
    restored = shutil.copytree(gallery, tmp_path / "gallery")
    (restored / "plain.png").unlink()
    reindex(restored, backbone, tmp_path / "other")
    shutil.rmtree(fresh)
    (tmp_path / "other").rename(fresh)
    assert engine.follow()
    assert "plain.png" not in ids(engine, picture)
    engine.put("new", another, {})
    assert ids(engine, another)[0] == "new"


def test_a_catalog_that_cannot_be_read_does_not_end_the_follower(engine, fresh, picture, caplog):
    file = fresh / "catalog.sqlite"
    whole = file.read_bytes()
    engine.close()
    file.write_bytes(b"no catalog" * 1000)
    assert [engine.follow() for _ in range(3)] == [False] * 3
    assert len(caplog.records) == 1
    with pytest.raises(NotReady) as caught:
        engine.search(picture, 1)
    assert str(fresh) in str(caught.value)
    file.write_bytes(whole)
    assert engine.follow()
    assert ids(engine, picture)[0] == "plain.png"


def test_what_no_failure_foresaw_does_not_end_the_follower_either(engine, monkeypatch, caplog, another):
    def broken(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "state", broken)
        assert [engine.follow() for _ in range(3)] == [False] * 3
    assert len(caplog.records) == 1
    assert "Input/output error" in caplog.text
    engine.put("new", another, {})
    assert engine.follow()
    assert engine.count == len(NAMES) + 1


def test_a_collection_whose_first_job_is_still_running(indexed, tmp_path, backbone):
    started = tmp_path / "started"
    catalog = Catalog(started, create=True)
    catalog.begin("origin", tmp_path, backbone.fingerprint)
    engine = Engine(started, "openvino", None, 80_000_000)
    assert engine.follow()
    with pytest.raises(NotReady, match="this server takes it up by itself"):
        _ = engine.serving
    catalog.close()
    engine.close()
    shutil.rmtree(started)
    shutil.copytree(indexed, started)
    assert engine.follow()
    assert engine.count == len(NAMES)
    engine.close()


def test_a_file_that_changed_since_is_not_shown(engine, fresh, another):
    item = engine.put("new", another, {})
    assert engine.picture(item) == another
    (fresh / "blobs" / item.content).write_bytes(b"rotten")
    assert engine.picture(item) is None


def test_confidences_come_and_go_with_the_bundle_that_states_them(
    gallery, calibrated_backbone, other_backbone, fresh_calibrated, picture
):
    engine = Engine(fresh_calibrated, "openvino", None, 80_000_000)
    assert engine.follow()
    before = engine.search(picture, 3)
    assert before.similar is True

    reindex(gallery, other_backbone, fresh_calibrated)  # has none
    assert engine.follow()
    between = engine.search(picture, 3)
    assert (between.confidences, between.similar) == (None, None)

    reindex(gallery, calibrated_backbone, fresh_calibrated)
    assert engine.follow()
    after = engine.search(picture, 3)
    assert after.confidences == pytest.approx(before.confidences)
    engine.close()


def test_another_bundle_brings_its_own_calibration(gallery, other_backbone, calibrate, fresh_calibrated, picture):
    engine = Engine(fresh_calibrated, "openvino", None, 80_000_000)
    assert engine.follow()
    first = engine.serving.calibration
    doubtful = first.model_copy(update={"ratios": [-10.0, -9.0, -8.0]})
    reindex(gallery, calibrate(other_backbone, doubtful.model_dump_json()), fresh_calibrated)
    assert engine.follow()
    answer = engine.search(picture, 3)
    assert answer.serving.calibration == doubtful
    assert answer.hits[0].score >= 0.9999
    assert answer.similar is False
    engine.close()


def test_the_same_network_with_another_calibration_keeps_the_encoder(engine, gallery, calibrated_backbone, fresh, picture):
    encoder = engine.serving.encoder
    assert engine.search(picture, 1).similar is None
    reindex(gallery, calibrated_backbone, fresh)
    assert engine.follow()
    assert engine.serving.encoder is encoder
    assert engine.search(picture, 1).similar is True


@pytest.mark.parametrize(
    "text",
    ["{", '{"format": 2, "scores": [0.0, 1.0], "ratios": [-1.0, 1.0], "matches": 1.0}', '{"format": 1}'],
    ids=["not JSON", "newer", "incomplete"],
)
def test_a_broken_calibration_leaves_the_generation_before_at_work(
    engine, gallery, fresh, other_backbone, calibrate, picture, caplog, text
):
    before = engine.serving
    reindex(gallery, calibrate(other_backbone, text), fresh)
    assert [engine.follow() for _ in range(3)] == [False] * 3
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1
    assert "calibration.json cannot be read" in told[0]
    assert engine.serving is before
    assert ids(engine, picture)[0] == "plain.png"

    started = Engine(fresh, "openvino", None, 80_000_000)
    assert not started.follow()
    assert "calibration.json cannot be read" in started.lags
    assert started.serving.searcher.generation.number == before.searcher.generation.number
    assert ids(started, picture)[0] == "plain.png"
    started.close()

    reindex(gallery, other_backbone, fresh)  # mended: the same network without it
    assert engine.follow()
    assert engine.serving.bundle.fingerprint == other_backbone.fingerprint
    assert ids(engine, picture)[0] == "plain.png"
