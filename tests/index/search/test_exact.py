"""Exact search is that of numpy, however it is split, and searches together never hold more cores than there are."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.search import exact
from index.search.cores import Cores


def unit(seed: int, rows: int, dim: int = 8) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def many_cores():
    """As on a machine of five cores, with a thread for every few numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "CORES", Cores(5))
        patch.setattr(exact, "_WORTH", 64)
        yield


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 200), k=st.integers(0, 220), share=st.none() | st.floats(0, 1))
def test_as_numpy_finds_it(seed, count, k, share):
    vectors, query = unit(seed, count), unit(seed + 1, 1)[0]
    rows = None if share is None else np.flatnonzero(np.random.default_rng(seed).random(count) < share)
    found, scores = exact.nearest(vectors, query, k, rows)
    among = np.arange(count) if rows is None else rows
    right = among[np.argsort(-(vectors[among] @ query), kind="stable")][:k]
    np.testing.assert_allclose(scores, vectors[right] @ query, atol=1e-6)
    np.testing.assert_allclose(scores, vectors[found] @ query, atol=1e-6)
    assert len(set(found.tolist())) == len(found) and set(found.tolist()) <= set(among.tolist())


def test_more_than_a_heap_is_good_for(monkeypatch):
    monkeypatch.setattr(exact, "_SORTED", 3)
    vectors, query = unit(0, 100), unit(1, 1)[0]
    found, scores = exact.nearest(vectors, query, 10)
    np.testing.assert_array_equal(found, np.argsort(-(vectors @ query))[:10])
    assert scores.dtype == np.float32 and found.dtype == np.int64


def test_of_equal_scores_the_lower_rows():
    rows, scores = exact.best(np.array([9, 4, 7, 2]), np.array([0.5, 0.5, 0.9, 0.5], np.float32), 3)
    assert rows.tolist() == [7, 2, 4] and scores.tolist() == pytest.approx([0.9, 0.5, 0.5])


def test_no_more_cores_than_there_are():
    cores, held, most, failed = Cores(3), 0, 0, []
    lock = threading.Lock()

    def search(wanted: int) -> None:
        nonlocal held, most
        for _ in range(50):
            with cores.some(wanted) as taken:
                with lock:
                    held += taken
                    most = max(most, held)
                if not 1 <= taken <= wanted:
                    failed.append(taken)
                time.sleep(0.0002)
                with lock:
                    held -= taken

    threads = [threading.Thread(target=search, args=(1 + number % 4,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed and held == 0 and most == 3


def taken_by(cores, most):
    with cores.some(most) as taken:
        return taken


def test_one_alone_takes_what_is_free_and_gives_it_back_when_it_fails():
    cores = Cores(4)
    with pytest.raises(ZeroDivisionError), cores.some(9) as taken:
        assert taken == 4
        raise ZeroDivisionError
    with cores.some(3) as first, ThreadPoolExecutor(1) as another:
        assert (first, another.submit(taken_by, cores, 3).result()) == (3, 1)
