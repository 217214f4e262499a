"""An order of rows holds each of them once, whatever the vectors, and what is near stands near."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.search import locality


@given(st.integers(0, 300), st.integers(1, 8), st.sampled_from(["random", "equal", "one axis"]))
def test_every_row_once(count, dim, kind):
    vectors = np.random.default_rng(count).standard_normal((count, dim)).astype(np.float32)
    if kind == "equal":
        vectors[:] = 1
    elif kind == "one axis":
        vectors[:, 1:] = 0
    assert sorted(locality.order(vectors)) == list(range(count))


@pytest.mark.parametrize("block", [50_000, 7])
def test_groups_stand_together(monkeypatch, block):
    monkeypatch.setattr(locality, "_BLOCK", block)
    random = np.random.default_rng(0)
    groups = random.permutation(np.repeat(np.arange(32), 64))
    vectors = (random.standard_normal((32, 24))[groups] + 0.05 * random.standard_normal((len(groups), 24))).astype(np.float32)
    ordered = groups[locality.order(vectors)]
    assert np.count_nonzero(np.diff(ordered)) < 3 * 32  # 2,000 where they stand as they came
