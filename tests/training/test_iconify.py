"""What the sets of icons share: drawing, merging, the folder; what a failure says and leaves behind."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from icon_packages import Registry, icon_set, package, square, tarball
from PIL import Image

from training.datasets import DataError, iconify
from training.datasets.iconify import Drawing, Fetch, IconSet, Package, Source, Summary


def every_icon(packages: list[Package]) -> list[Drawing]:
    return [
        Drawing(name, package.icon_set.style, name, svg, package.icon_set)
        for package in packages
        for name, svg in package.drawings.items()
    ]


def build(to: Path, *, sets: tuple[IconSet, ...], fetch: Fetch) -> Summary:
    source = Source("things", "thing", 1, sets, every_icon, iconify.merge, list)
    return iconify.build(to, source, None, fetch)


def two() -> Registry:
    return Registry({style: tarball({"cat": square(at), "dog": square(at + 1)}) for at, style in ((1, "one"), (5, "two"))})


@pytest.fixture
def world() -> Registry:
    """Two miniature packages."""
    return two()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    world, to = two(), tmp_path_factory.mktemp("built") / "new" / "things"
    return to, build(to, sets=world.sets, fetch=world.fetch)


def pixels(svg: str) -> Image.Image:
    return Image.open(io.BytesIO(iconify.render(svg)[0]))


# What is drawn


def test_a_drawing_is_square_transparent_and_black_where_no_colour_is_given() -> None:
    icon = {"body": '<path fill="currentColor" d="M0 0h8v16H0z"/>'}
    image = pixels(iconify.to_svg(icon, {}))
    assert (image.size, image.mode) == ((128, 128), "RGBA")
    assert image.getpixel((10, 64)) == (0, 0, 0, 255)
    assert image.getpixel((100, 64)) == (0, 0, 0, 0)


def test_an_icon_has_its_own_box() -> None:
    body = '<rect x="10" y="20" width="4" height="2" fill="red"/>'
    icon = {"body": body, "left": 10, "top": 20, "width": 4, "height": 2}
    box = pixels(iconify.to_svg(icon, {"width": 64, "height": 64})).getchannel("A").getbbox()
    assert box == (0, 32, 128, 96)  # twice as wide as high: kept whole, in the middle


@pytest.mark.parametrize("body", ["<g></g>", '<rect width="9" height="9" fill="none"/>', "<g>"])
def test_nothing_to_see_is_no_drawing(body: str) -> None:
    assert iconify.render(iconify.to_svg({"body": body}, {})) == (b"", "")


def test_a_mirrored_alias_is_drawn_mirrored() -> None:
    hands = package("hands", {"left": {**square(1), "left": 1}}, aliases={"right": {"parent": "left", "hFlip": True}})
    boxes = [pixels(hands.drawings[name]).getchannel("A").getbbox() for name in ("left", "right")]
    assert boxes == [(0, 16, 32, 48), (96, 16, 128, 48)]


# What is merged


def drawing(label: str, style: str, digest: str) -> Drawing:
    return Drawing(label, style, f"name of {label}", "", icon_set(style), digest.encode(), digest)


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
    merged = iconify.merge(drawings[::order])
    assert {(one.label, one.style, one.digest, one.name) for one in merged} == {
        ("1", "a", "x", "name of 1"),
        ("1", "b", "y", "name of 1"),
        ("1", "c", "y", "name of 1"),
        ("1", "d", "w", "name of 1"),
        ("4", "a", "v", "name of 4"),
    }
    assert len(merged) == 5


# The folder


def test_nothing_else_is_left_and_others_can_read_it(built: tuple[Path, Summary]) -> None:
    folder, _ = built
    assert list(folder.parent.iterdir()) == [folder]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["cat", "dog", "labels.csv", "ATTRIBUTION.md", "things.json"]
    )
    sibling = folder.parent / "sibling"
    sibling.mkdir()
    assert folder.stat().st_mode == sibling.stat().st_mode
    sibling.rmdir()


def test_a_set_that_gave_nothing_is_not_in_the_attribution_and_a_licence_need_not_have_an_address() -> None:
    given = package("one", ["cat"])
    given = replace(given, info={**given.info, "license": {"title": "Terms"}})
    text = iconify.attribution(every_icon([given]), [given, package("two", ["dog"])], "thing")
    assert "\n| one | `@iconify-json/one@1.0.0` | [Author](https://author) | Terms |\n" in text
    assert "two" not in text


@pytest.mark.parametrize("damage", ["labels", "version", "format", "manifest"])
def test_an_incomplete_or_older_folder_is_refused(
    damage: str, built: tuple[Path, Summary], world: Registry, tmp_path: Path
) -> None:
    to = tmp_path / "things"
    shutil.copytree(built[0], to)
    sets = world.sets
    if damage == "labels":
        (to / "labels.csv").write_text("path,label\n")
    elif damage == "version":
        sets = (replace(sets[0], version="1.0.1"), *sets[1:])
    elif damage == "format":
        manifest = json.loads((to / "things.json").read_text())
        (to / "things.json").write_text(json.dumps({**manifest, "format": 1 + 1}))
    else:
        (to / "things.json").write_text("[")
    refused(to, world, sets)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_ours_is_not_touched(kind: str, world: Registry, tmp_path: Path) -> None:
    to = tmp_path / "things"
    if kind == "folder":
        to.mkdir()
        (to / "thesis.txt").write_text("years of work")
    else:
        to.write_text("years of work")
    refused(to, world, world.sets)


def refused(to: Path, world: Registry, sets: tuple[IconSet, ...]) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in to.parent.rglob("*") if path.is_file()}

    before = contents()
    with pytest.raises(DataError, match="choose another folder, or delete it"):
        build(to, sets=sets, fetch=world.fetch)
    assert contents() == before
    assert world.fetched == []


# Failures: one sentence, and nothing left


def fails(tmp_path: Path, error: type[BaseException], sets: tuple[IconSet, ...], fetch: Fetch) -> str:
    with pytest.raises(error) as caught:
        build(tmp_path / "things", sets=sets, fetch=fetch)
    assert list(tmp_path.iterdir()) == []
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_altered_package_is_refused(world: Registry, tmp_path: Path) -> None:
    sets = world.sets
    world.packages["two"] += b"\0"
    message = fails(tmp_path, DataError, sets, world.fetch)
    assert "@iconify-json/two@1.0.0 does not match its recorded sha512" in message


def test_without_npm_it_says_what_to_install(world: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "install Node.js" in fails(tmp_path, DataError, world.sets, iconify.npm_pack)


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_what_npm_complains_of_is_passed_on(world: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("npm error code ENOTFOUND", "npm error network is", "  unreachable", "npm error     at Socket (/x)")
    complaint = "printf '%s\\n' " + " ".join(f"'{line}'" for line in lines) + " >&2; exit 1"
    fake_npm(tmp_path / "bin", monkeypatch, complaint)
    (tmp_path / "to").mkdir()
    message = fails(tmp_path / "to", DataError, world.sets, iconify.npm_pack)
    assert "@iconify-json/one@1.0.0 (code ENOTFOUND network is unreachable)" in message


def test_npm_is_asked_for_the_pinned_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path / "bin", monkeypatch, 'echo "$@" > "$4/asked"; touch "$4/iconify-json-noto-v1-1.0.0.tgz"')
    path = iconify.npm_pack(icon_set("noto-v1"), tmp_path)
    assert path.is_file() and path.parent == tmp_path
    assert (tmp_path / "asked").read_text().startswith("pack @iconify-json/noto-v1@1.0.0 --pack-destination ")


def test_an_interrupt_leaves_nothing(world: Registry, tmp_path: Path) -> None:
    def interrupted(wanted: IconSet, folder: Path) -> Path:
        world.fetch(wanted, folder)
        raise KeyboardInterrupt

    fails(tmp_path, KeyboardInterrupt, world.sets, interrupted)


def die(svg: str) -> None:
    os._exit(1)


def test_a_drawing_process_that_dies_is_a_sentence(world: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iconify, "render", die)
    assert "ended from outside" in fails(tmp_path, DataError, world.sets, world.fetch)


def test_a_folder_that_cannot_be_written_is_a_sentence(world: Registry, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="could not be written"):
        build(tmp_path / "file" / "things", sets=world.sets, fetch=world.fetch)


def test_a_full_disk_is_a_sentence(world: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.parts[-2:] == ("dog", "one.png"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "is full" in fails(tmp_path, DataError, world.sets, world.fetch)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_really_full(world: Registry, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs here")
    try:
        assert "is full" in fails(tmp_path, DataError, world.sets, world.fetch)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
