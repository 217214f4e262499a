"""What is found, against a search written word by word; and ties, whose order must not count."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import neighbours
from model.neighbours import nearest, right_answers


def unit(count: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def searched(vectors, labels, queries, gallery, masks):
    """For each query, the ranking as a list of ties: lists of gallery rows with equal scores, best first."""
    exact = (vectors.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    for query in queries:
        seen = [row for row in gallery if row != query and (masks is None or masks[row] != masks[query])]
        levels = sorted({float(exact[query, row]) for row in seen}, reverse=True)
        yield query, [[row for row in seen if exact[query, row] == level] for level in levels]


@st.composite
def spaces(draw):
    """Few different directions, so that ties are everywhere; or many, so that there are none."""
    count = draw(st.integers(2, 30))
    seed = draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    vectors = unit(draw(st.sampled_from([2, 5, 30])), draw(st.sampled_from([2, 3, 17])), seed)
    vectors = vectors[random.integers(0, len(vectors), count)]
    labels = [str(value) for value in random.integers(0, draw(st.integers(1, 8)), count)]
    masks = [str(value) for value in random.integers(0, 4, count)] if draw(st.booleans()) else None
    queries = random.permutation(count)[: draw(st.integers(1, count))]
    gallery = random.permutation(count)[: draw(st.integers(1, count))]
    return vectors, labels, queries, gallery, masks


@given(space=spaces(), kept=st.integers(1, 40))
@settings(deadline=None, max_examples=300)
def test_hits_and_counts_are_those_of_the_definition(space, kept):
    vectors, labels, queries, gallery, masks = space
    found = nearest(vectors, labels, queries=queries, gallery=gallery, masks=masks, kept=kept)
    assert (found.queries == queries).all()
    for place, (query, ties) in enumerate(searched(vectors, labels, queries, gallery, masks)):
        ranking = [row for tie in ties for row in tie]
        rows = found.rows[place][found.rows[place] >= 0]
        assert len(rows) == min(len(ranking), kept, len(gallery))
        assert found.possible[place] == sum(labels[row] == labels[query] for row in ranking)
        assert found.answerable[place] == (found.possible[place] > 0)
        assert (found.right[place][: len(rows)] == [labels[row] == labels[query] for row in rows]).all()
        for tie in ties:  # the order within a tie is free, the order of ties is not
            taken, rows = rows[: len(tie)], rows[len(tie) :]
            assert set(taken) <= set(tie)
        expected = next((tie for tie in ties if any(labels[row] == labels[query] for row in tie)), None)
        if expected is None:
            assert found.first[place].tolist() == [0, 0, 0]
        else:
            before = sum(len(tie) for tie in ties[: ties.index(expected)])
            right = sum(labels[row] == labels[query] for row in expected)
            assert found.first[place].tolist() == [before, len(expected), right]


def expectation(ties: list[list[bool]], figure) -> float:
    """The mean of a figure over every order of every tie."""
    rankings = [[]]
    for tie in ties:
        rankings = [[*ranking, *order] for ranking in rankings for order in permutations(tie)]
    return float(np.mean([figure(ranking) for ranking in rankings]))


def precision(ranking: list[bool]) -> float:
    return sum(ranking[: sum(ranking)]) / sum(ranking)


def average_precision(ranking: list[bool]) -> float:
    wanted = sum(ranking)
    return sum(sum(ranking[:i]) / i for i in range(1, wanted + 1) if ranking[i - 1]) / wanted


@given(ties=st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=3))
@settings(deadline=None, max_examples=200)
def test_ties_count_as_the_mean_over_their_orders(ties):
    right = np.array([[each for tie in ties for each in tie]])
    scores = np.array([[-float(level) for level, tie in enumerate(ties) for _ in tie]], np.float32)
    wanted = right.sum(axis=1)
    first, found, average = neighbours.judged(scores, right, wanted)
    if not wanted[0]:
        assert first.tolist() == [[0, 0, 0]]
        assert np.isnan([found[0], average[0]]).all()
        return
    assert found[0] == pytest.approx(expectation(ties, precision))
    assert average[0] == pytest.approx(expectation(ties, average_precision))


@given(seed=st.integers(0, 1000), kept=st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_how_many_hits_are_kept_changes_no_figure(seed, kept):
    random = np.random.default_rng(seed)
    vectors, labels = unit(6, 3, seed)[random.integers(0, 6, 40)], random.integers(0, 5, 40).astype(str)
    few, many = nearest(vectors, labels, kept=kept), nearest(vectors, labels, kept=40)
    for name in ("possible", "first", "precision", "average_precision"):
        np.testing.assert_allclose(getattr(few, name), getattr(many, name), rtol=1e-12)
    np.testing.assert_array_equal(few.rows, many.rows[:, :kept])


@pytest.mark.parametrize("block", [1, 100, 1000])
def test_blocks_do_not_show(block, monkeypatch):
    vectors, labels = unit(300, 16, seed=1), [str(row % 70) for row in range(300)]
    whole = nearest(vectors, labels)
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    parts = nearest(vectors, labels)
    for name in ("rows", "right", "first", "precision", "average_precision"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), rtol=1e-12)


@pytest.mark.parametrize("dim", [1, 3, 128, 511])
def test_equal_vectors_tie_whatever_the_matrix_product_makes_of_them(dim):
    vectors = np.repeat(unit(1, dim, seed=2), 1001, axis=0)
    found = nearest(vectors, ["a", "b"] * 500 + ["a"], kept=10)
    assert len(np.unique(found.scores)) == 1
    assert (found.first[:, :2] == [0, 1000]).all()
    assert set(found.first[:, 2]) == {500, 499}


def test_a_query_does_not_find_itself_wherever_it_stands_among_its_twins():
    vectors = np.repeat(unit(3, 4, seed=3), 5, axis=0)
    found = nearest(vectors, list("aaaaabbbbbccccc"))
    assert not (found.rows == found.queries[:, None]).any()
    assert found.right[:, :4].all()
    assert (found.possible == 4).all()


def test_query_and_gallery_need_not_meet():
    vectors, labels = unit(9, 4, seed=4), list("abcabcabd")
    found = nearest(vectors, labels, queries=np.array([8, 0, 4]), gallery=np.array([1, 2, 3, 6]), kept=9)
    assert found.possible.tolist() == [0, 2, 1]
    assert found.rows.shape == (3, 4)
    assert set(found.rows.ravel()) == {1, 2, 3, 6}
    assert right_answers(labels, queries=np.array([8, 0, 4]), gallery=np.array([1, 2, 3, 6])).tolist() == [0, 2, 1]


def test_one_large_class_among_small_ones_is_looked_through_to_its_end():
    labels = ["large"] * 300 + [str(row // 2) for row in range(40)]
    found = nearest(unit(340, 8, seed=5), labels, kept=3)
    assert found.rows.shape == (340, 3)
    assert (found.possible[:300] == 299).all()
    assert np.isfinite(found.average_precision).all()


def test_nothing_to_search_and_nothing_to_ask():
    nothing = np.empty(0, np.int64)
    with pytest.raises(ValueError, match="gallery is empty"):
        nearest(unit(3, 4, seed=6), list("aab"), gallery=nothing)
    assert nearest(unit(3, 4, seed=6), list("aab"), queries=nothing).rows.shape == (0, 3)
    assert right_answers(list("aab"), gallery=nothing).tolist() == [0, 0, 0]
