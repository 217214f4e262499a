"""The emoji set, built from miniature packages.

What is matched, drawn, merged and left out; what the folder holds; what a failure says and leaves behind.
"""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from training.datasets import DataError, emoji
from training.datasets.emoji import Drawing, IconSet, Package, build
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
NOTHING = {"body": "<g></g>"}


def square(x: int, colour: str = "#123456") -> dict[str, Any]:
    return {"body": f'<rect x="{x}" y="2" width="4" height="4" fill="{colour}"/>'}


def icon_set(style: str, licence: str = "MIT", integrity: str = "") -> IconSet:
    return IconSet(style, "1.0.0", style.split("-")[0], licence, integrity)


def tarball(icons: dict[str, Any], chars: dict[str, str] | None = None, **more: Any) -> bytes:
    """A package as npm packs it: 16 units wide, as icons are when nothing says otherwise."""
    info = {
        "author": {"name": "Author", "url": "https://author"},
        "license": {"title": "Terms", "url": "https://terms"},
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {"icons": {"icons": icons, **more}, "chars": chars or {}, "info": info}.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def package(style: str, icons: dict[str, Any] | list[str], chars: dict[str, str] | None = None, **more: Any) -> Package:
    drawn = icons if isinstance(icons, dict) else {name: square(1) for name in icons}
    return emoji.read_package(tarball(drawn, chars, **more), icon_set(style))


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


class World:
    """Seven miniature packages, and a `fetch` that hands them out and remembers."""

    def __init__(self) -> None:
        self.packages = {style: miniature(number, style) for number, style in enumerate(STYLES)}
        self.fetched: list[str] = []

    @property
    def sets(self) -> tuple[IconSet, ...]:
        return tuple(
            icon_set(
                style,
                "CC-BY-SA-4.0" if style == "openmoji" else "MIT",
                f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}",
            )
            for style, data in self.packages.items()
        )

    def fetch(self, wanted: IconSet, folder: Path) -> Path:
        self.fetched.append(wanted.style)
        path = folder / f"{wanted.style}.tgz"
        path.write_bytes(self.packages[wanted.style])
        return path


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, emoji.Summary]:
    world, to = World(), tmp_path_factory.mktemp("built") / "new" / "emoji"
    return to, build(to, sets=world.sets, fetch=world.fetch)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pixels(svg: str) -> Image.Image:
    return Image.open(io.BytesIO(emoji.render(svg)[0]))


# What a name means


def test_code_points_are_compared_without_zeros_and_variation_selectors() -> None:
    assert emoji.code_point("0031-FE0F-20E3") == "31-20e3"
    assert emoji.code_point("2764-fe0f-200d-1f525") == emoji.code_point("2764-200d-1f525")


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
    assert {drawing.code for drawing in found} == {BLUE}
    assert {drawing.style for drawing in found} == {"b", "c", "b-old", "c-old", "d-old", "e-old"}


def test_skin_tones_are_left_out_by_code_point_and_by_name() -> None:
    known = package("noto", list(NAMES.values()), NAMES)
    assert TONED not in emoji.match(known, {})
    assert emoji.match(package("old", ["waving-hand-medium-skin-tone"]), emoji.meanings([known])) == {}
    assert emoji.match(package("noto", ["tone"], {"1f3fb": "tone"}), {}) == {}


def test_hidden_icons_are_left_out() -> None:
    read = package("noto", {"cat": {**square(1), "hidden": True}, "dog": square(2)}, {CAT: "cat", "1f415": "dog"})
    assert set(read.drawings) == {"dog"} and read.chars == {"1f415": "dog"}


# What is drawn


def test_a_drawing_is_square_transparent_and_black_where_no_colour_is_given() -> None:
    icon = {"body": '<path fill="currentColor" d="M0 0h8v16H0z"/>'}
    image = pixels(emoji.to_svg(icon, {}))
    assert (image.size, image.mode) == ((128, 128), "RGBA")
    assert image.getpixel((10, 64)) == (0, 0, 0, 255)
    assert image.getpixel((100, 64)) == (0, 0, 0, 0)


def test_an_icon_has_its_own_box() -> None:
    body = '<rect x="10" y="20" width="4" height="2" fill="red"/>'
    icon = {"body": body, "left": 10, "top": 20, "width": 4, "height": 2}
    box = pixels(emoji.to_svg(icon, {"width": 64, "height": 64})).getchannel("A").getbbox()
    assert box == (0, 32, 128, 96)  # twice as wide as high: kept whole, in the middle


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


@pytest.mark.parametrize("body", ["<g></g>", '<rect width="9" height="9" fill="none"/>', "<g>"])
def test_nothing_to_see_is_no_drawing(body: str) -> None:
    assert emoji.render(emoji.to_svg({"body": body}, {})) == (b"", "")


# What is merged


def drawing(code: str, style: str, digest: str) -> Drawing:
    return Drawing(code, style, f"name of {code}", "", digest.encode(), digest)


@pytest.mark.parametrize("order", [1, -1])
def test_classes_that_share_drawings_are_one_however_long_the_chain(order: int) -> None:
    drawings = [
        drawing("3", "a", "z"),
        drawing("2", "a", "z"),
        drawing("2", "b", "y"),
        drawing("1", "c", "y"),
        drawing("1", "a", "x"),
        drawing("3", "d", "w"),
        drawing("4", "a", "v"),
    ]
    merged = emoji.merge(drawings[::order])
    assert {(one.code, one.style, one.digest, one.name) for one in merged} == {
        ("1", "a", "x", "name of 1"),
        ("1", "b", "y", "name of 1"),
        ("1", "c", "y", "name of 1"),
        ("1", "d", "w", "name of 1"),
        ("4", "a", "v", "name of 4"),
    }
    assert len(merged) == 5


# The folder


def test_the_folder_holds_what_the_summary_says(built: tuple[Path, emoji.Summary]) -> None:
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


def test_a_row_tells_where_its_drawing_comes_from(built: tuple[Path, emoji.Summary]) -> None:
    by_path = {row["path"]: row for row in rows(built[0])}
    row = by_path[f"{TURKEY}/streamline-emojis.png"]
    assert (row["label"], row["name"], row["style"]) == (TURKEY, "flag turkey", "streamline-emojis")
    assert (row["family"], row["licence"]) == ("streamline", "MIT")
    assert by_path[f"{CAT}/openmoji.png"]["licence"] == "CC-BY-SA-4.0"


def test_a_style_keeps_its_own_drawing_of_a_merged_class(built: tuple[Path, emoji.Summary]) -> None:
    box = Image.open(built[0] / RED / "noto.png").getchannel("A").getbbox()
    assert box is not None and box[0] == list(NAMES).index(RED) * 8  # not that of the blue circle


def test_a_class_is_in_one_split_by_its_label_alone(built: tuple[Path, emoji.Summary]) -> None:
    for row in rows(built[0]):
        assert row["split"] == hash_split(row["label"], emoji.PROPORTIONS)
    shares = Counter(hash_split(f"{number:x}", emoji.PROPORTIONS) for number in range(4000))
    assert {split: round(count / 4000, 1) for split, count in shares.items()} == emoji.PROPORTIONS


def test_the_attribution_names_every_set_and_the_share_alike_ones(built: tuple[Path, emoji.Summary]) -> None:
    text = (built[0] / "ATTRIBUTION.md").read_text()
    origin = "[Author](https://author) | [Terms](https://terms)"
    for style in STYLES:
        assert f"\n| {style} | `@iconify-json/{style}@1.0.0` | {origin} |\n" in text
    assert "Share-alike sets: openmoji." in text


def test_nothing_else_is_left_and_others_can_read_it(built: tuple[Path, emoji.Summary]) -> None:
    folder, _ = built
    assert list(folder.parent.iterdir()) == [folder]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [GRINNING, CAT, TURKEY, RED, "labels.csv", "ATTRIBUTION.md", "emoji.json"]
    )
    sibling = folder.parent / "sibling"
    sibling.mkdir()
    assert folder.stat().st_mode == sibling.stat().st_mode
    sibling.rmdir()


def test_a_complete_folder_is_left_as_it_is(built: tuple[Path, emoji.Summary], world: World) -> None:
    folder, first = built
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = build(folder, sets=world.sets, fetch=world.fetch)
    assert again == replace(first, seconds=0.0, already_there=True)
    assert world.fetched == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_two_builds_are_the_same_and_an_empty_folder_is_filled(
    built: tuple[Path, emoji.Summary], world: World, tmp_path: Path
) -> None:
    build(tmp_path, sets=world.sets, fetch=world.fetch)
    for path in built[0].rglob("*.*"):
        assert (tmp_path / path.relative_to(built[0])).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("damage", ["labels", "version", "format", "manifest"])
def test_an_incomplete_or_older_folder_is_refused(
    damage: str, built: tuple[Path, emoji.Summary], world: World, tmp_path: Path
) -> None:
    to = tmp_path / "emoji"
    shutil.copytree(built[0], to)
    sets = world.sets
    if damage == "labels":
        (to / "labels.csv").write_text("path,label\n")
    elif damage == "version":
        sets = (replace(sets[0], version="1.0.1"), *sets[1:])
    elif damage == "format":
        manifest = json.loads((to / "emoji.json").read_text())
        (to / "emoji.json").write_text(json.dumps({**manifest, "format": emoji.FORMAT + 1}))
    else:
        (to / "emoji.json").write_text("[")
    refused(to, world, sets)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_ours_is_not_touched(kind: str, world: World, tmp_path: Path) -> None:
    to = tmp_path / "emoji"
    if kind == "folder":
        to.mkdir()
        (to / "thesis.txt").write_text("years of work")
    else:
        to.write_text("years of work")
    refused(to, world, world.sets)


def refused(to: Path, world: World, sets: tuple[IconSet, ...]) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in to.parent.rglob("*") if path.is_file()}

    before = contents()
    with pytest.raises(DataError, match="choose another folder, or delete it"):
        build(to, sets=sets, fetch=world.fetch)
    assert contents() == before
    assert world.fetched == []


# Failures: one sentence, and nothing left


def fails(tmp_path: Path, error: type[BaseException], sets: tuple[IconSet, ...], fetch: emoji.Fetch) -> str:
    with pytest.raises(error) as caught:
        build(tmp_path / "emoji", sets=sets, fetch=fetch)
    assert list(tmp_path.iterdir()) == []
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_altered_package_is_refused(world: World, tmp_path: Path) -> None:
    sets = world.sets
    world.packages["openmoji"] += b"\0"
    message = fails(tmp_path, DataError, sets, world.fetch)
    assert "@iconify-json/openmoji@1.0.0 does not match its recorded sha512" in message


def test_without_npm_it_says_what_to_install(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "install Node.js" in fails(tmp_path, DataError, world.sets, emoji.npm_pack)


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_what_npm_complains_of_is_passed_on(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("npm error code ENOTFOUND", "npm error network is", "  unreachable", "npm error     at Socket (/x)")
    complaint = "printf '%s\\n' " + " ".join(f"'{line}'" for line in lines) + " >&2; exit 1"
    fake_npm(tmp_path / "bin", monkeypatch, complaint)
    (tmp_path / "to").mkdir()
    message = fails(tmp_path / "to", DataError, world.sets, emoji.npm_pack)
    assert "@iconify-json/noto@1.0.0 (code ENOTFOUND network is unreachable)" in message


def test_npm_is_asked_for_the_pinned_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path / "bin", monkeypatch, 'echo "$@" > "$4/asked"; touch "$4/iconify-json-noto-v1-1.0.0.tgz"')
    path = emoji.npm_pack(icon_set("noto-v1"), tmp_path)
    assert path.is_file() and path.parent == tmp_path
    assert (tmp_path / "asked").read_text().startswith("pack @iconify-json/noto-v1@1.0.0 --pack-destination ")


def test_an_interrupt_leaves_nothing(world: World, tmp_path: Path) -> None:
    def interrupted(wanted: IconSet, folder: Path) -> Path:
        world.fetch(wanted, folder)
        raise KeyboardInterrupt

    fails(tmp_path, KeyboardInterrupt, world.sets, interrupted)


def die(svg: str) -> None:
    os._exit(1)


def test_a_drawing_process_that_dies_is_a_sentence(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emoji, "render", die)
    assert "ended from outside" in fails(tmp_path, DataError, world.sets, world.fetch)


def test_a_folder_that_cannot_be_written_is_a_sentence(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="could not be written"):
        build(tmp_path / "file" / "emoji", sets=world.sets, fetch=world.fetch)


def test_a_full_disk_is_a_sentence(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.parts[-2:] == (TURKEY, "noto.png"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "is full" in fails(tmp_path, DataError, world.sets, world.fetch)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_really_full(world: World, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs here")
    try:
        assert "is full" in fails(tmp_path, DataError, world.sets, world.fetch)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# The table of sets


def test_the_pinned_sets() -> None:
    assert len({pinned.style for pinned in emoji.SETS}) == 12
    assert len({pinned.family for pinned in emoji.SETS}) == 7
    for pinned in emoji.SETS:
        assert len(base64.b64decode(pinned.integrity.removeprefix("sha512-"), validate=True)) == 64
    assert {pinned.style for pinned in emoji.SETS if "-SA-" in pinned.licence} == {"openmoji", "emojione-v1"}
    assert set(emoji.SHOWS) <= {pinned.style for pinned in emoji.SETS}
