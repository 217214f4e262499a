"""The emoji set, built from miniature packages.

What is matched, drawn, merged and left out; what the folder holds.
"""

from __future__ import annotations

import base64
import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from icon_packages import NOTHING, Registry, package, square, tarball
from PIL import Image

from training.datasets import emoji, iconify
from training.datasets.emoji import build
from training.datasets.split import hash_split

STYLES = ("noto", "fluent", "twemoji", "openmoji", "emojione", "fxemoji", "streamline-emojis")
GRINNING, CAT, TURKEY, RED, BLUE, GHOST, RARE = "1f600", "1f408", "1f1f9-1f1f7", "1f534", "1f535", "1f47b", "1f9ff"
TONED = "1f44b-1f3fd"
NAMES = {
    GRINNING: "grinning-face",
    CAT: "cat",
    TURKEY: "flag-turkey",
    RED: "red-circle",
    BLUE: "blue-circle",
    GHOST: "ghost",
    RARE: "nazar-amulet",
    TONED: "waving-hand-medium-skin-tone",
}


def miniature(number: int, style: str) -> bytes:
    """One of the seven: the first four have code points, the others go by name."""
    icons = {name: square(position, f"#{number * 30:02x}5566") for position, name in enumerate(NAMES.values())}
    if number > 3:
        del icons["nazar-amulet"]
    if style == "emojione":  # in black, two circles are one drawing
        icons["blue-circle"] = icons["red-circle"]
    if style == "fxemoji":
        icons["ghost"] = NOTHING
        icons["catside"] = icons.pop("cat")
    if style == "streamline-emojis":
        icons = {"grinning-face-1": icons["grinning-face"], "turkey": icons["flag-turkey"], "cat": NOTHING}
    return tarball(icons, {code: name for code, name in NAMES.items() if name in icons} if number < 4 else {})


def seven() -> Registry:
    return Registry({style: miniature(number, style) for number, style in enumerate(STYLES)})


@pytest.fixture
def world() -> Registry:
    """Seven miniature packages."""
    return seven()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, iconify.Summary]:
    world, to = seven(), tmp_path_factory.mktemp("built") / "new" / "emoji"
    return to, build(to, sets=world.sets, fetch=world.fetch)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pixels(svg: str) -> Image.Image:
    return Image.open(io.BytesIO(iconify.render(svg)[0]))


# What a name means


def test_code_points_are_compared_without_zeros_and_variation_selectors() -> None:
    assert iconify.code_point("0031-FE0F-20E3") == "31-20e3"
    assert iconify.code_point("2764-fe0f-200d-1f525") == iconify.code_point("2764-200d-1f525")


@pytest.mark.parametrize(
    ("icon", "code"),
    [
        ("Grinning_Face", GRINNING),
        ("grinningface", GRINNING),
        ("grinning-face-2", GRINNING),
        ("grinning", GRINNING),
        ("flag-for-turkey", TURKEY),
        ("turkey", TURKEY),
        ("smiley", GRINNING),
        ("largebluecircle", BLUE),
        ("no-such-thing", None),
    ],
)
def test_an_icon_without_a_code_point_is_matched_by_name(icon: str, code: str | None) -> None:
    known = package("noto", list(NAMES.values()), NAMES, aliases={"smiley": {"parent": "grinning-face"}})
    meaning = emoji.character_names(NAMES) | emoji.meanings([known])
    assert emoji.match(package("old", [icon]), meaning) == ({code: icon} if code else {})


def test_an_icon_is_matched_by_its_other_names_when_its_own_says_nothing() -> None:
    aliases = {"grinning-face": {"parent": "smiley"}, "red-circle": {"parent": "cat"}}
    old = package("old", ["smiley", "cat"], aliases=aliases)
    meaning = emoji.meanings([package("noto", list(NAMES.values()), NAMES)])
    assert emoji.match(old, meaning) == {GRINNING: "smiley", CAT: "cat"}


def test_the_surest_name_wins_an_emoji() -> None:
    meaning = {"cat": CAT, "redcircle": RED}
    assert emoji.match(package("old", ["cat-1", "cat", "red-circle-2", "red-circle-1"]), meaning) == {
        CAT: "cat",
        RED: "red-circle-1",
    }


def test_code_points_beat_names() -> None:
    assert emoji.match(package("noto", ["cat", "kitty"], {CAT: "kitty"}), {"cat": CAT}) == {CAT: "kitty"}


def test_a_country_and_a_face_that_go_by_other_names() -> None:
    meaning = {"turkey": "1f983", "flagturkey": TURKEY, "cat": CAT, "catface": "1f431", "window": "1fa9f"}
    assert emoji.match(package("streamline-emojis", ["turkey"]), meaning) == {TURKEY: "turkey"}
    assert emoji.match(package("fxemoji", ["cat", "catside", "window"]), meaning) == {"1f431": "cat", CAT: "catside"}


def test_a_name_means_what_most_say_and_what_the_family_says_first() -> None:
    one, two, three = (package(style, ["up"], {code: "up"}) for style, code in (("a", RED), ("b", BLUE), ("c", BLUE)))
    assert emoji.meanings([one, two, three]) == {"up": BLUE}
    assert emoji.meanings([one, two]) == {"up": RED}
    old = [package(style, ["up"]) for style in ("a-old", "b-old", "c-old", "d-old", "e-old")]
    found = emoji.find_drawings([one, two, three, *old])
    assert {drawing.label for drawing in found} == {BLUE}
    assert {drawing.style for drawing in found} == {"b", "c", "b-old", "c-old", "d-old", "e-old"}


def test_skin_tones_are_left_out_by_code_point_and_by_name() -> None:
    known = package("noto", list(NAMES.values()), NAMES)
    assert TONED not in emoji.match(known, {})
    assert emoji.match(package("old", ["waving-hand-medium-skin-tone"]), emoji.meanings([known])) == {}
    assert emoji.match(package("noto", ["tone"], {"1f3fb": "tone"}), {}) == {}


def test_hidden_icons_are_left_out() -> None:
    read = package("noto", {"cat": {**square(1), "hidden": True}, "dog": square(2)}, {CAT: "cat", "1f415": "dog"})
    assert set(read.drawings) == {"dog"} and read.chars == {"1f415": "dog"}


def test_a_mirrored_alias_is_a_drawing_of_its_own() -> None:
    hands = package(
        "fluent",
        {"left": {**square(1), "left": 1}},
        {"1f448": "left"},
        aliases={"right": {"parent": "left", "hFlip": True}, "port": {"parent": "left"}},
    )
    assert emoji.match(hands, {"right": "1f449", "port": "1f449"}) == {"1f448": "left", "1f449": "right"}
    boxes = [pixels(hands.drawings[name]).getchannel("A").getbbox() for name in ("left", "right")]
    assert boxes == [(0, 16, 32, 48), (96, 16, 128, 48)]


# The folder


def test_the_folder_holds_what_the_summary_says(built: tuple[Path, iconify.Summary]) -> None:
    folder, summary = built
    table = rows(folder)
    assert list(table[0]) == ["path", "label", "name", "style", "family", "licence", "split"]
    assert Counter(row["label"] for row in table) == {GRINNING: 7, CAT: 6, TURKEY: 7, RED: 6}
    assert (summary.classes, summary.images, summary.families) == (4, 26, 7)
    assert (summary.merged, summary.blank, summary.already_there) == (1, 2, False)
    assert summary.splits == Counter(row["split"] for row in table)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    assert files == {row["path"] for row in table}
    assert summary.bytes == sum((folder / name).stat().st_size for name in files)
    assert summary.seconds > 0


def test_a_row_tells_where_its_drawing_comes_from(built: tuple[Path, iconify.Summary]) -> None:
    by_path = {row["path"]: row for row in rows(built[0])}
    row = by_path[f"{TURKEY}/streamline-emojis.png"]
    assert (row["label"], row["name"], row["style"]) == (TURKEY, "flag turkey", "streamline-emojis")
    assert (row["family"], row["licence"]) == ("streamline", "MIT")
    assert by_path[f"{CAT}/openmoji.png"]["licence"] == "CC-BY-SA-4.0"


def test_a_style_keeps_its_own_drawing_of_a_merged_class(built: tuple[Path, iconify.Summary]) -> None:
    box = Image.open(built[0] / RED / "noto.png").getchannel("A").getbbox()
    assert box is not None and box[0] == list(NAMES).index(RED) * 8  # not that of the blue circle


def test_a_class_is_in_one_split_by_its_label_alone(built: tuple[Path, iconify.Summary]) -> None:
    for row in rows(built[0]):
        assert row["split"] == hash_split(row["label"], iconify.PROPORTIONS)
    shares = Counter(hash_split(f"{number:x}", iconify.PROPORTIONS) for number in range(4000))
    assert {split: round(count / 4000, 1) for split, count in shares.items()} == iconify.PROPORTIONS


def test_the_attribution_names_every_set_and_the_share_alike_ones(built: tuple[Path, iconify.Summary]) -> None:
    text = (built[0] / "ATTRIBUTION.md").read_text()
    origin = "[Author](https://author) | [Terms](https://terms)"
    for style in STYLES:
        assert f"\n| {style} | `@iconify-json/{style}@1.0.0` | {origin} |\n" in text
    assert "Share-alike sets: openmoji." in text


def test_a_complete_folder_is_left_as_it_is(built: tuple[Path, iconify.Summary], world: Registry) -> None:
    folder, first = built
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = build(folder, sets=world.sets, fetch=world.fetch)
    assert again == replace(first, seconds=0.0, already_there=True)
    assert world.fetched == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_two_builds_are_the_same_and_an_empty_folder_is_filled(
    built: tuple[Path, iconify.Summary], world: Registry, tmp_path: Path
) -> None:
    build(tmp_path, sets=world.sets, fetch=world.fetch)
    for path in built[0].rglob("*.*"):
        assert (tmp_path / path.relative_to(built[0])).read_bytes() == path.read_bytes()


# The table of sets


def test_the_pinned_sets() -> None:
    assert len({pinned.style for pinned in emoji.SETS}) == 12
    assert len({pinned.family for pinned in emoji.SETS}) == 7
    for pinned in emoji.SETS:
        assert len(base64.b64decode(pinned.integrity.removeprefix("sha512-"), validate=True)) == 64
    assert {pinned.style for pinned in emoji.SETS if "-SA-" in pinned.licence} == {"openmoji", "emojione-v1"}
    assert set(emoji.SHOWS) <= {pinned.style for pinned in emoji.SETS}
