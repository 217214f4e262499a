"""Files are read several in one go: in their order, and not so many that their bytes fill the memory."""

from contextlib import closing
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from miniatures import write

from index import gallery as galleries
from index.catalog import Fault
from index.gallery import Entry
from index.job import reading
from index.job.reading import TOGETHER, Reader

MOST = reading._TOGETHER_BYTES


@given(st.lists(st.integers(-1, 2 * MOST), max_size=40), st.booleans())
def test_no_go_is_too_large(sizes, far):
    entries = [Entry(f"{number}.png", size, 1) for number, size in enumerate(sizes)]
    reader = Reader.__new__(Reader)
    reader._together = 1 if far else TOGETHER
    goes = list(reader._in_goes(entries))
    assert [entry for go in goes for entry in go] == entries and all(goes)
    for go in goes:
        assert len(go) == 1 or (len(go) <= TOGETHER and sum(entry.size for entry in go) <= MOST and not far)
    for go, after in pairwise(goes):  # none could have been joined
        assert far or len(go) == TOGETHER or sum(entry.size for entry in go) + after[0].size > MOST


def test_each_file_has_its_own_answer_in_its_place(shop):
    """Twenty in three goes: whole ones, one whose vector is there, one that is gone, one that is no picture."""
    shop.fill(range(20))
    write(shop.gallery / "7.png", b"no picture")
    shop.index()
    write(shop.gallery / "3.png", 103)
    write(shop.gallery / "8.png", 108)
    entries = [found for found in galleries.open(shop.gallery).scan() if isinstance(found, Entry)]
    (shop.gallery / "8.png").unlink()
    with closing(shop.catalog()) as catalog:
        reader = Reader(catalog, shop.collection, galleries.open(shop.gallery), shop.encoder)
        goes = [future.result() for future in reader.submit(entries)]
        reader.close()
    assert [len(go) for go in goes] == [8, 8, 4]
    found = {entry.id: each for entry, each in zip(entries, (each for go in goes for each in go), strict=True)}
    assert isinstance(found["7.png"], Fault) and found["7.png"].size == len(b"no picture")
    assert isinstance(found["8.png"], Fault) and "not there" in found["8.png"].reason
    whole = {id: each for id, each in found.items() if id not in ("7.png", "8.png")}
    assert all(each.entry.id == id for id, each in whole.items())
    assert {id for id, each in whole.items() if each.pixels is not None} == {"3.png"}
