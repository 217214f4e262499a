"""Figures against a plain reference, and worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import metrics
from model.metrics import RECALL_AT, Neighbours, leave_one_out


def unit(count: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def reference(vectors: np.ndarray, labels: list[str], masks: list) -> dict[str, float]:
    """The definitions, word by word."""
    hits: dict[int, list[bool]] = {}
    for query in range(len(labels)):
        others = [row for row in range(len(labels)) if masks[row] != masks[query]]
        others.sort(key=lambda row: -float(vectors[query] @ vectors[row]))
        hits[query] = [labels[row] == labels[query] for row in others]
    answerable = [query for query in hits if any(hits[query])]
    figures = {f"recall@{k}": np.mean([any(hits[query][:k]) for query in answerable]) for k in RECALL_AT}
    average = []
    for query in answerable:
        wanted = sum(hits[query])
        precisions = [sum(hits[query][:i]) / i for i in range(1, wanted + 1) if hits[query][i - 1]]
        average.append(sum(precisions) / wanted)
    return figures | {"map@r": np.mean(average), "queries": len(answerable)}


@st.composite
def tables(draw) -> tuple[np.ndarray, list[str], list[str]]:
    count = draw(st.integers(2, 40))
    names = st.lists(st.sampled_from("abcde"), min_size=count, max_size=count)
    return unit(count, draw(st.integers(2, 6)), draw(st.integers(0, 2**32))), draw(names), draw(names)


@given(table=tables(), masked=st.booleans(), block=st.integers(1, 50))
@settings(deadline=None)
def test_figures_are_those_of_the_definitions(table, masked: bool, block: int) -> None:
    vectors, labels, masks = table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_BLOCK", block)
        found = leave_one_out(vectors, labels, masks if masked else None)
    expected_masks = masks if masked else list(range(len(labels)))
    allowed = np.not_equal.outer(expected_masks, expected_masks)
    same = np.equal.outer(labels, labels)
    assert (found.possible == (same & allowed).sum(axis=1)).all()
    assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()
    if not (same & allowed).any():
        with pytest.raises(ValueError, match="No query has a right answer"):
            found.figures()
        return
    assert found.figures() == pytest.approx(reference(vectors, labels, expected_masks))


@given(table=tables())
@settings(deadline=None)
def test_a_hit_is_never_the_query_nor_hidden_by_the_mask(table) -> None:
    vectors, labels, masks = table
    for given_masks, hidden in ((None, np.arange(len(labels))), (masks, np.array(masks))):
        rows = leave_one_out(vectors, labels, given_masks).rows
        for query, hits in enumerate(rows):
            there = hits[hits >= 0]
            assert len(set(there)) == len(there)
            assert (hidden[there] != hidden[query]).all()


def test_the_query_is_masked_by_its_row_when_others_are_the_same_picture() -> None:
    vectors = np.repeat(unit(1, 4, 0), 3, axis=0)  # ahead of the query, duplicates may come first
    assert leave_one_out(vectors, ["a", "a", "a"]).figures()["recall@1"] == 1
    assert leave_one_out(vectors, ["a", "a", "b"], masks=["x", "x", "y"]).possible.tolist() == [0, 0, 0]
    apart = leave_one_out(vectors, ["a", "b", "b"])
    assert apart.possible.tolist() == [0, 1, 1]
    assert apart.figures()["queries"] == 2


def test_map_at_r_by_hand() -> None:
    """R = 3, right at ranks 1 and 3: (1/1 + 2/3) / 3. R = 2, right at rank 3 only, beyond R: 0. R = 0: not asked."""
    right = np.array([[1, 0, 1, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
    found = Neighbours(np.zeros((3, 5), int), np.zeros((3, 5), np.float32), right, np.array([3, 2, 0]))
    assert found.map_at_r() == pytest.approx((1 + 2 / 3) / 3 / 2)
    assert found.recall_at(1) == 0.5
    assert found.recall_at(2) == 0.5
    assert found.recall_at(4) == 1
    assert found.figures()["queries"] == 2


def test_enough_hits_are_kept_for_the_largest_class() -> None:
    vectors = unit(30, 8, 0)
    vectors[:20] = vectors[0]
    found = leave_one_out(vectors, ["large"] * 20 + ["small"] * 10)
    assert found.rows.shape[1] == 19
    assert found.map_at_r() > 20 / 30
    assert found.right[:20].all()


def test_a_model_that_tells_nothing_apart_gains_nothing_from_ties() -> None:
    labels = [str(row % 50) for row in range(500)]
    found = leave_one_out(np.repeat(unit(1, 4, 0), 500, axis=0), labels).figures()
    assert found["recall@1"] < 0.2
