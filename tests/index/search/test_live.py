"""A live segment holds what came and did not go; a state that somebody has never changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.catalog import Item
from index.search import columns, live
from index.search.live import Live
from index.search.segment import Segment

DIM = 4


def item(key: int) -> tuple[Item, np.ndarray]:
    """Ten ids, again and again; a field that few items have, and one that sometimes has several values."""
    metadata = {"n": key, "tags": ["x", "y"][: key % 3]} | ({"rare": True} if key % 7 == 0 else {})
    return Item(key, id_of(key), "api", "c", metadata, 1, 1), np.full(DIM, key, np.float32)


def id_of(key: int) -> str:
    return f"{key % 10}.png"


def holds(segment: Segment, keys: list[int]) -> None:
    """These rows, each with the vector and the metadata of its key."""
    assert segment.keys.tolist() == keys
    assert segment.vectors.tolist() == [[key] * DIM for key in keys]
    assert segment.metadata["id"].to_pylist() == [id_of(key) for key in keys]
    given = [item(key)[0].metadata for key in keys]
    for field in ("n", "tags", "rare"):
        assert values(segment, field) == [as_list(each.get(field, [])) for each in given]


def values(segment: Segment, field: str) -> list[list]:
    """What each row has in a field of one type."""
    found = columns.of(segment.metadata, field)
    return [as_list(row) for row in found[0].to_pylist()] if found else [[]] * len(segment.keys)


def as_list(row: object) -> list:
    return row if isinstance(row, list) else [] if row is None else [row]


@pytest.fixture(autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "_FIRST", 2)
        yield


@settings(deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=12))
def test_every_state_stays_as_it_was(steps):
    """Items replace those of the same id; somebody asks for some states' columns at once, for others in the end."""
    segments, last, alive = Live(DIM), 0, {}
    states: list[tuple[Segment, list[int]]] = []
    for count, looked_at in steps:
        came = [item(key) for key in range(last + 1, last + 1 + count)][-10:]  # an id once
        gone = segments.of(found.id for found, _ in came)
        assert gone == {alive[found.id] for found, _ in came if found.id in alive}
        segments.change(came, gone)
        alive |= {found.id: found.key for found, _ in came}
        last += count
        keys = segments.segment.keys.tolist()
        assert set(alive.values()) <= set(keys) and len(set(keys)) == len(keys)
        assert segments.lacks(range(last + 2)) == set(range(last + 2)) - set(alive.values())
        states.append((segments.segment, keys))
        if looked_at:
            holds(*states[-1])
    for state in states:
        holds(*state)


def test_what_died_is_left_out_before_it_is_a_burden():
    segments = Live(DIM)
    most = 0
    for key in range(1, 2_000):
        found, vector = item(key)
        segments.change([(found, vector)], segments.of([found.id]))
        most = max(most, len(segments.segment.keys))
    assert most < 20
    assert sorted(segments.segment.keys.tolist())[-10:] == list(range(1_990, 2_000))


def test_what_goes_may_come_again():
    segments = Live(DIM)
    segments.change([item(1), item(2)], [])
    segments.change([], {1})
    assert segments.of(["1.png", "2.png"]) == {2} and segments.lacks([1, 2]) == {1}
    segments.change([item(11)], [])
    assert segments.of(["1.png"]) == {11}
    holds(segments.segment, [2, 11])
