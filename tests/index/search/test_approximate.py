"""An index keeps the recall that it promises, with filters too, or says that it cannot; what is measured is what is found."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from index.catalog import Item
from index.search import approximate, columns, graph, planner
from index.search import segment as segments
from index.search.approximate import Approximate, Tried, Worth
from index.search.columns import Rows
from index.search.planner import Aim, Plan
from index.search.segment import Segment, SegmentError

DIM, COUNT, K = 32, 4_000, 10
FINGERPRINT = "f" * 64
PLANS = [Plan("HNSW8_SQ8_direct_signed", (16, 32, 64, 128, 256)), Plan("IVF32,PQ16x4fs", (1, 2, 4, 8, 16, 32))]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, seed: int) -> np.ndarray:
    """Around 60 centres, which are the same for every seed."""
    random, middle = np.random.default_rng(seed), np.random.default_rng(0).normal(size=(60, DIM))
    return unit(middle[random.integers(0, 60, count)] + 0.7 * random.normal(size=(count, DIM)))


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(COUNT, 1)


@pytest.fixture
def small(monkeypatch):
    """Collections of thousands are planned as those of millions."""
    monkeypatch.setattr(planner, "_EXACT_BELOW", 1_000)
    monkeypatch.setattr(approximate, "_QUERIES", 200)


def write(folder: Path, vectors: np.ndarray, aim: Aim) -> Segment:
    rows = ((Item(row, str(row), "g", "c", {"even": row % 2 == 0}, 1, 1), vector) for row, vector in enumerate(vectors))
    segments.write(folder, FINGERPRINT, DIM, rows, aim)
    segments.verify(folder)
    return segments.open(folder, FINGERPRINT)


def recall(segment: Segment, queries: np.ndarray, rows: Rows | None = None) -> float:
    found = [np.isin(segment.search(q, K, rows, 0)[0], segment.search(q, K, rows)[0]).mean() for q in queries]
    return float(np.mean(found))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.factory)
def test_measured_is_what_is_found(vectors, small, plan):
    index = approximate.build(vectors, plan)
    tried, kept = approximate.measured(index, vectors, plan, 0.9)
    assert kept and [each.effort for each in tried] == list(plan.efforts[: len(tried)])
    assert min(tried[-1].like, tried[-1].unlike) >= 0.9
    segment = Segment(
        np.arange(COUNT), vectors, lambda: columns.from_metadata([]), "", Approximate(index, vectors, tried[-1].effort)
    )
    assert recall(segment, clustered(200, 2)) >= 0.85


def before(vectors: np.ndarray, rows: np.ndarray | None) -> Any:
    """A graph as it was written when codes stood inside: first in the order of ``rows``, at the very first in none."""
    made: Any = faiss.index_factory(DIM, "HNSW8_SQ8", faiss.METRIC_INNER_PRODUCT)
    made.train(vectors)
    made.add(vectors)
    if rows is None:
        return made
    made.permute_entries(rows)
    named: Any = faiss.IndexIDMap(faiss.IndexFlat(DIM, faiss.METRIC_INNER_PRODUCT))
    made.this.disown()
    named.index, named.own_fields, named.ntotal = made, True, made.ntotal
    faiss.copy_array_to_vector(rows, named.id_map)
    return named


def test_a_graph_names_rows_and_so_did_those_before(tmp_path, vectors):
    shuffled = np.random.default_rng(10).permutation(COUNT)
    approximate.write(tmp_path, approximate.build(vectors, PLANS[0]))
    opened = [approximate.open(tmp_path, vectors, 64)]
    for place, rows in {"second": shuffled, "first": None}.items():
        (tmp_path / place).mkdir()
        faiss.write_index(before(vectors, rows), str(tmp_path / place / graph.INDEX))
        opened.append(approximate.open(tmp_path / place, vectors, 64))
    for index in opened:
        found = [index.nearest(vectors[row], K, 64) for row in range(0, COUNT, 40)]
        assert np.mean([rows[0] == row for row, (rows, _) in zip(range(0, COUNT, 40), found, strict=True)]) > 0.98
        for rows, scores in found:
            assert np.all(np.diff(scores) <= 0) and len(set(rows)) == K


@pytest.mark.parametrize("length", [1e-30, 1e-3, 1, 40, 1e30])
def test_the_length_of_a_query_changes_scores_only(vectors, length):
    """Codes are bytes, and so is what they are compared with."""
    index = Approximate(approximate.build(vectors, PLANS[0]), vectors, 64)
    for query in clustered(20, 11):
        rows, scores = index.nearest(query, K, 64)
        again, longer = index.nearest(query * np.float32(length), K, 64)
        np.testing.assert_array_equal(again, rows)
        np.testing.assert_allclose(longer, scores * np.float32(length), rtol=1e-4)


def test_numbers_of_any_size_have_codes(tmp_path):
    """One number that is far greater than all others leaves these few steps of a byte; and nothing but zeros has no scale."""
    uneven = clustered(COUNT, 1)
    uneven[:, 0] *= 20
    for name, vectors in {"uneven": unit(uneven), "nothing": np.zeros((2_000, DIM), np.float32)}.items():
        (tmp_path / name).mkdir()
        approximate.write(tmp_path / name, approximate.build(vectors, PLANS[0]))
        index = approximate.open(tmp_path / name, vectors, 64)
        for query in (*vectors[:20], np.zeros(DIM, np.float32)):
            rows, scores = index.nearest(query, K, 64)
            assert len(set(rows)) == K
            np.testing.assert_allclose(scores, vectors[rows] @ query, atol=1e-5)


@pytest.mark.parametrize("memory", [None, COUNT * 20])
def test_a_segment_keeps_the_recall_with_filters_and_without(tmp_path, small, vectors, memory):
    segment = write(tmp_path / "s", vectors, Aim(0.95, memory))
    worth = segments.worth(tmp_path / "s")
    assert worth.factory.startswith("HNSW" if memory is None else "IVF") and worth.recall >= 0.95
    ours = {"index.faiss", "codes.u8", "rows.i64"} if memory is None else {"index.faiss"}
    others = {"keys.i64", "vectors.f32", "columns.arrow", "segment.json"}
    assert {file.name for file in (tmp_path / "s").iterdir()} == ours | others
    assert worth.bytes == sum((tmp_path / "s" / name).stat().st_size for name in ours) and worth.seconds >= 0
    queries = clustered(200, 3)
    assert recall(segment, queries) >= 0.93
    for share in (0.5, 0.05, 0.001):
        mask = np.random.default_rng(4).random(COUNT) < share
        assert recall(segment, queries, Rows.where(mask)) >= 0.93, share


@pytest.mark.parametrize("share", [0, 0.0005, 0.02, 0.6])
def test_never_fewer_hits_than_there_are(tmp_path, small, vectors, share):
    """Also where all that passes is far from the query."""
    segment = write(tmp_path / "s", vectors, Aim(0.9))
    query = clustered(1, 5)[0]
    far = np.argsort(vectors @ query)[: int(share * COUNT)]
    mask = np.zeros(COUNT, bool)
    mask[far] = True
    for k in (1, 10, 500):
        rows, _ = segment.search(query, k, Rows.where(mask))
        exactly, _ = segment.search(query, k, Rows.where(mask), 0)
        assert len(rows) == len(exactly) == min(k, len(far)) and mask[rows].all()
        assert np.isin(exactly, rows).mean() >= 0.9 if len(far) else True


def test_scores_are_exact_and_in_order(tmp_path, small, vectors):
    segment = write(tmp_path / "s", vectors, Aim(0.95))
    for query in clustered(20, 6):
        rows, scores = segment.search(query, K)
        np.testing.assert_allclose(scores, vectors[rows] @ query, atol=1e-5)
        assert (np.diff(scores) <= 0).all()
        sure, _ = segment.search(query, K, effort=0)
        np.testing.assert_array_equal(sure, np.argsort(-(vectors @ query), kind="stable")[:K])


def test_more_effort_finds_more(tmp_path, small, vectors):
    segment = write(tmp_path / "s", vectors, Aim(0.5))
    index = segment.index
    queries = clustered(100, 7)
    exact = [segment.search(query, K, effort=0)[0] for query in queries]
    shares = [
        np.mean([np.isin(e, segment.search(q, K, effort=n)[0]).mean() for q, e in zip(queries, exact, strict=True)])
        for n in (10, 300)
    ]
    assert shares[0] < shares[1] and shares[1] > 0.99 and index is not None


def test_what_cannot_be_kept_is_searched_exactly_and_said(tmp_path, small, vectors, monkeypatch):
    monkeypatch.setattr(planner, "_WIDTHS", (16,))
    segment = write(tmp_path / "s", vectors, Aim(0.9999))
    worth = segments.worth(tmp_path / "s")
    assert segment.index is None and worth.factory == "Flat" and worth.failed == "HNSW32_SQ8_direct_signed"
    assert [each.effort for each in worth.tried] == [16] and not (tmp_path / "s" / "index.faiss").exists()
    assert recall(segment, clustered(20, 8)) == 1
    assert worth.serves(Aim(0.9999), COUNT, DIM) and not worth.serves(Aim(0.9), COUNT, DIM)


def test_equal_vectors_are_no_failure(tmp_path, small, vectors):
    """A placeholder that stands for hundreds of pictures: which of them is found does not matter."""
    many = np.concatenate([vectors[:2_000], np.repeat(vectors[:20], 50, axis=0)])
    write(tmp_path / "s", many[np.random.default_rng(9).permutation(len(many))], Aim(0.9))
    assert segments.worth(tmp_path / "s").recall >= 0.9


def test_what_an_index_is_good_enough_for(small):
    made = Worth(
        factory="HNSW24_SQ8_direct_signed",
        asked=0.95,
        effort=32,
        recall=0.96,
        tried=[Tried(effort=32, like=1, unlike=0.96, ms=1)],
        bytes=10**6,
    )
    assert made.serves(Aim(0.95), COUNT, DIM) and made.serves(Aim(0.9), COUNT, DIM)
    assert not made.serves(Aim(0.96), COUNT, DIM)
    assert not made.serves(Aim(0.95, 10**5), COUNT, DIM)
    assert not made.serves(Aim(1.0), COUNT, DIM)
    assert Worth(asked=1.0).serves(Aim(1.0), COUNT, DIM) and not Worth(asked=1.0).serves(Aim(0.95), COUNT, DIM)


@pytest.mark.parametrize("name", ["index.faiss", "codes.u8", "rows.i64"])
@pytest.mark.parametrize(
    "harm", [lambda f: f.unlink(), lambda f: f.write_bytes(f.read_bytes()[:100]), lambda f: f.write_bytes(b"")]
)
def test_a_damaged_index_does_not_open(tmp_path, small, vectors, harm, name):
    write(tmp_path / "s", vectors, Aim(0.9))
    harm(tmp_path / "s" / name)
    with pytest.raises(SegmentError, match="damaged"):
        segments.open(tmp_path / "s", FINGERPRINT)


def test_the_index_is_mapped(tmp_path, small, vectors):
    segment = write(tmp_path / "s", vectors, Aim(0.9))
    graph = faiss.downcast_index(segment.index.index.index)
    codes = faiss.downcast_index(graph.storage).codes
    assert not codes.is_owned and int(codes.data()) % 64 == 0 and not graph.hnsw.neighbors.is_owned
