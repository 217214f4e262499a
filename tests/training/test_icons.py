"""The icon set: which icon shows a thing, by hand-made packages; and the whole set, which needs npm."""

from __future__ import annotations

import base64
import csv
import hashlib
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from icon_packages import Registry, icon_set, package, square, tarball
from PIL import Image
from rich.progress import Progress

from training.datasets import iconify, icons
from training.datasets.iconify import Drawing
from training.datasets.split import hash_split

ROOT = Path(__file__).parent.parent.parent
FREE = {"MIT", "ISC", "Apache-2.0", "CC-BY-4.0"}
HANDS = ("one", "two", "three", "four")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def shown(style: str, *names: str) -> dict[str, dict[str, str]]:
    """Icon by label, by style, of one set, with three other hands that drew the same things plainly."""
    drawn = {name: square(number % 12, f"#{number:06x}") for number, name in enumerate(names)}
    mine = package(style, drawn)
    name_of = {svg: name for name, svg in mine.drawings.items()}
    others = [package(hand, sorted(icons.things())) for hand in HANDS[:3]]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for drawing in icons.find_drawings([mine, *others]):
        if drawing.icon_set.style == style:
            found[drawing.style][drawing.label] = name_of[drawing.svg]
    return dict(found)


# Which icon shows a thing


@pytest.mark.parametrize(
    ("icon", "label"),
    [
        ("bell", "bell"),
        ("notification", "bell"),
        ("bell-01", "bell"),
        ("bell-one", "bell"),
        ("bell-1", "bell"),
        ("bell-2", None),
        ("envelope", "mail"),
        ("person-add", "user-plus"),
        ("account-plus", "user-plus"),
        ("plus-user", "user-plus"),
        ("bell-slash", "bell-off"),
        ("cog", "settings"),
        ("shopping-cart", "cart"),
        ("no-such-thing", None),
    ],
)
def test_an_icon_is_known_by_its_words(icon: str, label: str | None) -> None:
    assert shown("plain", icon) == ({"plain": {label: icon}} if label else {})


@pytest.mark.parametrize(
    ("style", "names", "lines", "filled"),
    [
        ("ri", ("bell-line", "bell-fill", "cat-line"), {"cat": "cat-line"}, {}),
        ("ph", ("cat", "cat-fill", "cat-thin"), {"cat": "cat"}, {"cat": "cat-fill"}),
        ("mdi", ("cat", "cat-outline", "dog"), {"cat": "cat-outline", "dog": "dog"}, {"cat": "cat", "dog": "dog"}),
        ("bx", ("cat", "bxs-cat", "bxs-dog"), {"cat": "cat"}, {"cat": "bxs-cat", "dog": "bxs-dog"}),
        ("fluent", ("cat-16-regular", "cat-24-regular", "cat-20-filled"), {"cat": "cat-24-regular"}, {"cat": "cat-20-filled"}),
    ],
)
def test_a_set_has_lines_and_filled_shapes(
    style: str, names: tuple[str, ...], lines: dict[str, str], filled: dict[str, str]
) -> None:
    expected = {style: lines, f"{style}-filled": filled}
    assert shown(style, *names) == {style: drawn for style, drawn in expected.items() if drawn}


def test_the_surest_name_and_the_unnumbered_one_win() -> None:
    assert shown("plain", "pencil", "edit", "box-1", "box") == {"plain": {"edit": "edit", "box": "box"}}


def test_what_is_known_to_show_something_else_is_left_out_in_a_set_or_in_one_style() -> None:
    assert shown("eva", "pin-outline", "pin-fill") == {}
    assert shown("ph", "check", "check-fill") == {"ph": {"check": "check"}}


def test_a_thing_needs_four_hands() -> None:
    def found(*styles: str) -> set[str]:
        packages = [package(style, ["cat"]) for style in styles]
        lucide = package("lucide", ["cat"])
        kin = replace(lucide, icon_set=replace(lucide.icon_set, family="one"))
        return {drawing.label for drawing in icons.find_drawings([*packages, kin])}

    assert found(*HANDS[:3]) == set()
    assert found(*HANDS) == {"cat"}


# What looks the same


def test_a_picture_is_kept_once_in_a_class_and_nowhere_if_several_classes_have_it() -> None:
    def drawing(label: str, style: str, digest: str) -> Drawing:
        return Drawing(label, style, label, "", icon_set(style), digest.encode(), digest)

    drawings = [
        drawing("cat", "feather", "x"),
        drawing("cat", "lucide", "x"),
        drawing("cat", "ph", "y"),
        drawing("cat", "ri", "z"),
        drawing("dog", "ri", "z"),
        drawing("dog", "ph", "w"),
    ]
    kept = [(one.label, one.style) for one in icons.without_twins(drawings)]
    assert kept == [("cat", "feather"), ("cat", "ph"), ("dog", "ph")]


def test_the_folder_of_a_small_set(tmp_path: Path) -> None:
    names = ("cat", "dog", "bell")
    world = Registry(
        {hand: tarball({name: square(4 * at + of) for of, name in enumerate(names)}) for at, hand in enumerate(HANDS)}
    )
    world.packages["five"] = world.packages["four"]  # a fork
    summary = icons.build(tmp_path / "new" / "icons", sets=world.sets, fetch=world.fetch)
    table = rows(tmp_path / "new" / "icons")
    assert (summary.classes, summary.images, summary.families, summary.merged) == (3, 12, 5, 0)
    assert {row["path"] for row in table} == {f"{name}/{hand}.png" for name in names for hand in HANDS}
    assert (tmp_path / "new" / "icons" / "icons.json").is_file()


# The tables


def test_the_pinned_sets() -> None:
    styles = {pinned.style for pinned in icons.SETS}
    assert len(styles) == len(icons.SETS) == 30
    for pinned in icons.SETS:
        assert len(base64.b64decode(pinned.integrity.removeprefix("sha512-"), validate=True)) == 64
    assert {pinned.licence for pinned in icons.SETS} == FREE
    assert set(icons.VARIANTS) <= styles
    every_style = {style for pinned in icons.SETS for style in icons.styles(pinned)}
    assert set(icons.NOT_SHOWN) <= styles | every_style


def test_every_thing_is_listed_once_and_no_name_means_two_things() -> None:
    things = icons.things()
    assert len(things) == len(icons.THINGS.split())
    names = [name for spellings in things.values() for name in set(spellings)]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert {label for labels in icons.NOT_SHOWN.values() for label in labels.split()} <= set(things)


# The whole set


@pytest.fixture(scope="session")
def whole() -> Path:
    """The whole icon set; kept in build/ between sessions."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm for the pictures (Debian: apt install npm)")
    folder = ROOT / "build" / "icons"
    with Progress() as progress:
        icons.build(folder, progress=progress)
    return folder


def test_the_set_is_as_large_as_promised(whole: Path) -> None:
    table = rows(whole)
    assert list(table[0]) == ["path", "label", "name", "style", "family", "licence", "split"]
    assert len(table) >= 12_000
    families: dict[str, set[str]] = defaultdict(set)
    for row in table:
        families[row["label"]].add(row["family"])
        assert row["split"] == hash_split(row["label"], iconify.PROPORTIONS)
    assert len(families) >= 700
    assert min(len(hands) for hands in families.values()) >= 4


def test_every_style_has_a_licence(whole: Path) -> None:
    attribution = (whole / "ATTRIBUTION.md").read_text(encoding="utf-8")
    licences: dict[str, set[str]] = defaultdict(set)
    for row in rows(whole):
        licences[row["style"]].add(row["licence"])
    assert len(licences) >= 50
    assert all(len(found) == 1 and found <= FREE for found in licences.values())
    named = {style for line in attribution.splitlines() if "@iconify-json/" in line for style in line.split("|")[1].split(",")}
    assert {style.strip() for style in named} == set(licences)


def test_no_picture_is_there_twice(whole: Path) -> None:
    digests: set[bytes] = set()
    table = rows(whole)
    for row in table:
        with Image.open(whole / row["path"]) as picture:
            assert picture.size == (128, 128)
            digests.add(hashlib.sha256(picture.convert("RGBA").tobytes()).digest())
    assert len(digests) == len(table)
    assert sorted(row["path"] for row in table) == sorted(file.relative_to(whole).as_posix() for file in whole.glob("*/*.png"))
