"""Which items of a collection are copies of one another, and what cannot be told because a file is not what it was."""

import shutil

import numpy as np
import pytest
from miniatures import write
from PIL import ImageOps
from test_alikeness import cropped, encoded, scene

from index.catalog import Catalog, CatalogError, NewItem, content_of
from index.duplicates import Duplicates, DuplicatesError, duplicates


def clusters(found: Duplicates) -> dict[str, dict[str, str]]:
    """What is kept → its copies and why they are ones."""
    return {each.keep.item.id: {copy.picture.item.id: copy.why for copy in each.copies} for each in found.clusters}


def find(shop, **options) -> Duplicates:
    """Vectors of a miniature encoder say little: let it be all pairs."""
    return duplicates.find(shop.collection, cosine=-1, **options)


def test_copies_are_found_and_the_largest_is_kept(shop):
    large, small = encoded(scene(1), "PNG"), encoded(scene(1).resize((160, 120)), quality=80)
    for name, data in {"a small.jpg": small, "large.png": large, "other.png": encoded(scene(2), "PNG")}.items():
        write(shop.gallery / name, data)
    shop.index()
    found = find(shop)
    assert clusters(found) == {"large.png": {"a small.jpg": "same picture"}}
    only = found.clusters[0]
    assert (only.keep.size, only.copies[0].picture.size) == ((320, 240), (160, 120))
    assert 0 < only.copies[0].difference <= duplicates.SAME
    assert (found.items, found.copies, found.bytes, found.compared, found.pending) == (3, 1, len(small), 3, 0)
    assert found.unreadable == {}


def test_of_equal_size_the_larger_file_is_kept_then_the_older_item(shop):
    write(shop.gallery / "a.jpg", encoded(scene(1), quality=40))
    write(shop.gallery / "b.png", encoded(scene(1), "PNG"))
    shop.index()
    write(shop.gallery / "0.png", encoded(scene(1), "PNG"))
    shop.index()
    assert clusters(find(shop)) == {"b.png": {"0.png": "same file", "a.jpg": "same picture"}}


@pytest.mark.parametrize("colour", ["black", "white"])
@pytest.mark.parametrize("quality", [75, 85, 95])
def test_a_border_does_not_count(shop, colour, quality):
    """Its end is blurred, and its file is the larger one: the original has the picture all the same."""
    write(shop.gallery / "original.jpg", encoded(scene(1), quality=60))
    write(shop.gallery / "bordered.jpg", encoded(ImageOps.expand(scene(1), 30, colour), quality=quality))
    shop.index()
    found = find(shop)
    assert clusters(found) == {"original.jpg": {"bordered.jpg": "same picture"}}
    assert found.clusters[0].copies[0].picture.size == (380, 300)
    assert found.bytes > found.clusters[0].keep.item.size


def test_of_equal_pictures_the_one_with_less_border_is_kept(shop):
    picture = ImageOps.expand(scene(1), 10, "white")
    write(shop.gallery / "original.png", encoded(picture, "PNG"))
    write(shop.gallery / "more border.png", encoded(ImageOps.expand(picture, 20, "white"), "PNG", compress_level=0))
    shop.index()
    assert clusters(find(shop)) == {"original.png": {"more border.png": "same picture"}}


def test_a_border_around_a_larger_picture_is_no_reason_to_lose_it(shop):
    write(shop.gallery / "small.png", encoded(scene(1).resize((240, 180)), "PNG"))
    write(shop.gallery / "bordered.jpg", encoded(ImageOps.expand(scene(1), 32, "black"), quality=60))
    shop.index()
    assert clusters(find(shop)) == {"bordered.jpg": {"small.png": "same picture"}}


def test_what_blurs_a_border_does_not_decide_between_pictures_of_one_size(shop):
    """The border of the recompressed one is found narrower, so that more seems to be inside."""
    picture = ImageOps.expand(scene(1), 60, "white")
    write(shop.gallery / "a.jpg", encoded(picture, quality=20))
    write(shop.gallery / "b.png", encoded(picture, "PNG"))
    shop.index()
    looks = [duplicates.alikeness.look((shop.gallery / name).read_bytes())[0] for name in ("a.jpg", "b.png")]
    assert np.ptp(looks[0]["frame"]) < np.ptp(looks[1]["frame"])
    assert clusters(find(shop)) == {"b.png": {"a.jpg": "same picture"}}


def test_equal_files_are_not_compared(shop, monkeypatch):
    shop.fill([1, 2])
    for name in "xyz":
        write(shop.gallery / f"{name}.png", 1)
    shop.index()
    expected = {"1.png": dict.fromkeys(["x.png", "y.png", "z.png"], "same file")}
    assert clusters(find(shop)) == expected
    monkeypatch.setattr(duplicates.alikeness, "look", lambda _: pytest.fail("a picture was decoded"))
    found = duplicates.find(shop.collection, cosine=1.1)  # no two contents are near enough
    assert clusters(found) == expected
    assert found.clusters[0].keep.size == (32, 32)
    assert (found.items, found.compared) == (5, 0)


def test_vectors_far_apart_are_not_compared(shop):
    write(shop.gallery / "a.png", encoded(scene(1), "PNG"))
    write(shop.gallery / "b.jpg", encoded(scene(1), quality=60))
    write(shop.gallery / "c.png", encoded(scene(2), "PNG"))
    shop.index()
    assert duplicates.find(shop.collection, cosine=1.1).compared == 0
    assert find(shop, neighbours=2).compared == 3
    assert clusters(find(shop, neighbours=1)) == {"a.png": {"b.jpg": "same picture"}}


def test_blocks_of_vectors_make_no_difference(shop, monkeypatch):
    for number in range(9):
        write(shop.gallery / f"{number}.png", encoded(scene(number // 2, (320 - number, 240)), "PNG"))
    shop.index()
    whole = find(shop, neighbours=3)
    monkeypatch.setattr(duplicates, "_BLOCK", 2)
    assert clusters(find(shop, neighbours=3)) == clusters(whole)
    assert find(shop, neighbours=3).compared == whole.compared
    assert len(whole.clusters) == 4


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (0, {"0.png": {"1.png": "same picture"}, "2.png": {"3.png": "same picture"}}),
        (1, {"1.png": {"0.png": "same picture", "2.png": "same picture"}}),
    ],
)
def test_a_chain_does_not_join_its_ends(shop, largest, expected):
    """Each picture is a crop of the one before; what is in a cluster is one of the kept picture, or the other way round."""
    for number in range(4):
        side = 0.78**number / 2
        window = cropped(scene(1, (800, 600)), 0.5 - side, 0.5 - side, 0.5 + side, 0.5 + side)
        size = (480, 360) if number == largest else (400 - 4 * number, 300 - 3 * number)
        write(shop.gallery / f"{number}.png", encoded(window.resize(size), "PNG"))
    shop.index()
    assert clusters(find(shop)) == expected


def test_groups_go_on_from_what_matches_the_kept_one():
    """0 matches 1 and 2, 2 is a neighbour of 1 alone; 3 matches 2 only; 4 and 3 are a group of their own."""
    near = {0: [1], 1: [0, 2], 2: [1, 3], 3: [2, 4], 4: [3]}
    same = {(0, 1): 0.1, (0, 2): 0.2, (0, 3): 0.9, (3, 4): 0.1}
    asking = duplicates._gathered([0, 1, 2, 3, 4], near)
    asked, answer = [], None
    while True:
        try:
            pairs = asking.send(answer)
        except StopIteration as done:
            groups = done.value
            break
        asked += pairs
        answer = {pair: same[pair] for pair in pairs}
    assert [(group.keep, group.members) for group in groups] == [(0, {1: 0.1, 2: 0.2}), (3, {4: 0.1})]
    assert asked == [(0, 1), (0, 2), (0, 3), (3, 4)]


def test_files_that_are_not_what_they_were_are_told(shop):
    for number in range(4):
        write(shop.gallery / f"{number}.png", encoded(scene(number), "PNG"))
        write(shop.gallery / f"{number}.jpg", encoded(scene(number), quality=50))
        write(shop.gallery / f"twin {number}.png", encoded(scene(number), "PNG"))
    shop.index()
    (shop.gallery / "0.png").unlink()
    write(shop.gallery / "1.jpg", 5)
    (shop.gallery / "2.png").unlink()
    (shop.gallery / "twin 2.png").unlink()
    found = find(shop)
    assert set(found.unreadable) == {"0.png", "1.jpg", "2.png", "twin 2.png"}
    assert "not there any more" in found.unreadable["0.png"] and "changed" in found.unreadable["1.jpg"]
    assert clusters(found) == {
        "twin 0.png": {"0.jpg": "same picture"},
        "1.png": {"twin 1.png": "same file"},
        "3.png": {"twin 3.png": "same file", "3.jpg": "same picture"},
    }


def test_a_gallery_that_is_away(shop):
    shop.fill(range(3))
    write(shop.gallery / "twin.png", 1)
    shop.index()
    shutil.rmtree(shop.gallery)
    found = find(shop)
    assert found.clusters == []
    assert set(found.unreadable) == {"0.png", "1.png", "2.png", "twin.png"}


def test_what_the_service_took_in_counts(shop):
    write(shop.gallery / "0.png", encoded(scene(0), "PNG"))
    shop.fill([1])
    shop.index()
    catalog = shop.catalog()
    shop.upload(catalog, "uploaded", 1)
    catalog.delete("0.png")
    catalog.close()
    found = find(shop)
    assert clusters(found) == {"1.png": {"uploaded": "same file"}}
    assert found.items == 2


def test_what_has_no_vector_is_counted(shop):
    shop.fill([1])
    shop.index()
    catalog = shop.catalog()
    for id, number in {"a": 2, "b": 2, "c": 3}.items():
        other = type(shop.encoder)(shop.bundle)
        other.fingerprint = "0" * 64
        shop.upload(catalog, id, number, encoder=other)
    catalog.close()
    found = find(shop)
    assert (found.items, found.pending) == (4, 3)
    assert clusters(found) == {"a": {"b": "same file"}}


def test_items_without_a_picture_take_no_part(shop):
    for name in ("a.png", "b.png"):
        write(shop.gallery / name, encoded(scene(1), "PNG"))
    shop.index()
    catalog = shop.catalog()
    for id, number in (("bare", 1), ("too", 1), ("other", 2)):
        vector = np.eye(shop.encoder.dim, dtype=np.float32)[number]
        catalog.put(NewItem(id, content_of(vector), {}, 64, 0), shop.encoder.fingerprint, vector)
    catalog.close()
    found = find(shop)
    assert (found.items, found.unreadable) == (2, {})
    assert clusters(found) == {"a.png": {"b.png": "same file"}}


def test_an_empty_collection(shop):
    shop.index()
    found = find(shop)
    assert (found.items, found.clusters, found.bytes) == (0, [], 0)


def test_no_collection(tmp_path):
    with pytest.raises(CatalogError, match="lookalike index"):
        duplicates.find(tmp_path)
    Catalog(tmp_path, create=True).close()
    with pytest.raises(DuplicatesError, match="lookalike index"):
        duplicates.find(tmp_path)


def test_progress_and_figures(shop):
    write(shop.gallery / "a.png", encoded(scene(1), "PNG"))
    write(shop.gallery / "b.jpg", encoded(scene(1), quality=50))
    write(shop.gallery / "c.png", encoded(scene(2), "PNG"))
    shop.index()
    done: dict[str, int] = {}
    totals: dict[str, int] = {}

    def progress(phase: str, amount: int, total: int) -> None:
        done[phase] = done.get(phase, 0) + amount
        totals[phase] = total

    found = find(shop, progress=progress)
    assert done == totals
    assert list(done) == ["Comparing vectors", "Reading pictures", "Comparing pictures", "Aligning pictures", "Reading copies"]
    figures = found.figures()
    assert figures["clusters"][0]["keep"] == {
        "id": "a.png",
        "origin": str(shop.gallery),
        "width": 320,
        "height": 240,
        "bytes": (shop.gallery / "a.png").stat().st_size,
    }
    assert figures["clusters"][0]["copies"][0]["why"] == "same picture"
    assert (figures["copies"], figures["bytes"]) == (1, (shop.gallery / "b.jpg").stat().st_size)
