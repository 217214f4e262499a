"""The planner is a pure function: what fits, in the order of speed; exact search where nothing does."""

import faiss
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.search.planner import FLAT, Aim, exactly, plan

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("count", "aim", "factory"),
    [
        (0, Aim(), FLAT),
        (30_000, Aim(), FLAT),
        (MILLION, Aim(), "HNSW24_SQ8_direct_signed"),
        (MILLION, Aim(0.99), "HNSW32_SQ8_direct_signed"),
        (MILLION, Aim(1.0), FLAT),
        (MILLION, Aim(memory=400_000_000), "HNSW24_SQ8_direct_signed"),
        (MILLION, Aim(memory=200_000_000), "IVF4096,PQ64x4fs"),
        (MILLION, Aim(memory=30_000_000), "IVF4096,PQ32x4fs"),
        (MILLION, Aim(memory=10_000_000), FLAT),
    ],
)
def test_what_is_chosen(count, aim, factory):
    assert plan(count, 128, aim).factory == factory


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    count=st.integers(0, 10**8),
    dim=st.integers(1, 512),
    recall=st.floats(0.5, 1.0),
    memory=st.none() | st.integers(0, 10**11),
)
def test_every_plan_can_be_built_and_fits(count, dim, recall, memory):
    found = plan(count, dim, Aim(recall, memory))
    assert memory is None or found.bytes <= memory
    if not found.flat:
        assert list(found.efforts) == sorted(set(found.efforts)) and found.efforts[0] >= 1
        assert faiss.index_factory(dim, found.factory, faiss.METRIC_INNER_PRODUCT).d == dim


def test_few_that_pass_are_compared_and_many_are_searched_for():
    assert exactly(1_000, MILLION, 32) and not exactly(100_000, MILLION, 32)
    assert not exactly(MILLION, MILLION, 32)
    assert exactly(MILLION, MILLION, 100_000)  # nearly all are asked for
