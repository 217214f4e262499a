"""What the sets of pictures made of icons share: npm packages in, a folder of labelled drawings out.

In: a `Source`, which says what packages there are and how to find classes of drawings in them; a folder that does not exist
yet; npm, which downloads packages of Iconify (`@iconify-json/*`) at pinned versions.
Out: that folder: `<label>/<style>.png` (128 px, transparent), `labels.csv`, `ATTRIBUTION.md` and `<name of the source>.json`.
"""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import io
import json
import multiprocessing
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import resvg_py
from PIL import Image
from rich.progress import Progress

from . import DataError
from .split import hash_split

SIZE = 128
PROPORTIONS = {"test": 0.5, "train": 0.4, "validation": 0.1}


@dataclass(frozen=True)
class IconSet:
    """An npm package at a pinned version. Sets of one family were drawn by the same hand."""

    style: str
    version: str
    family: str
    licence: str
    integrity: str

    @property
    def package(self) -> str:
        return f"@iconify-json/{self.style}@{self.version}"


@dataclass(frozen=True)
class Summary:
    """What a folder holds, and what it took to build it."""

    classes: int
    images: int
    families: int
    bytes: int
    splits: dict[str, int]
    merged: int
    blank: int
    seconds: float = 0.0
    already_there: bool = False


@dataclass(frozen=True)
class Package:
    """An unpacked icon set: SVG by icon name, the other names of an icon, and icon names by code point."""

    icon_set: IconSet
    drawings: dict[str, str]
    aliases: dict[str, list[str]]
    chars: dict[str, str]
    info: dict[str, Any]


@dataclass(frozen=True)
class Drawing:
    """One style's drawing of a class, as SVG and then as PNG."""

    label: str
    style: str
    name: str
    svg: str
    icon_set: IconSet
    png: bytes = b""
    digest: str = ""


@dataclass(frozen=True)
class Source:
    """A labelled set of drawings: what it is called, what its labels are, and how it is made of packages.

    `find` gives the drawings of all classes, `merge` what is left when it is known which look the same, and `enough` leaves
    out the classes that have too few.
    """

    name: str
    label: str
    format: int
    sets: tuple[IconSet, ...]
    find: Callable[[list[Package]], list[Drawing]]
    merge: Callable[[list[Drawing]], list[Drawing]]
    enough: Callable[[list[Drawing]], list[Drawing]]


Fetch = Callable[[IconSet, Path], Path]


def npm_pack(icon_set: IconSet, folder: Path) -> Path:
    """Download a package's tarball into `folder` with npm, and return its path."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not on the PATH: install Node.js, which brings npm, and run this again")
    command = [npm, "pack", icon_set.package, "--pack-destination", str(folder), "--loglevel", "error"]
    # By default npm waits for more than a minute before it says that there is no network.
    command += ["--fetch-retry-mintimeout", "1000", "--fetch-retry-maxtimeout", "3000"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        complaint = " ".join(re.sub(r"npm (error|ERR!)( +at .*)?", "", done.stderr).split())[:200]
        raise DataError(
            f"npm could not download {icon_set.package} ({complaint or f'exit code {done.returncode}'}): "
            "check the network and run this again"
        )
    return folder / f"iconify-json-{icon_set.style}-{icon_set.version}.tgz"


def download(icon_set: IconSet, folder: Path, fetch: Fetch) -> Package:
    """One package, checked against its recorded sha512."""
    tarball = fetch(icon_set, folder).read_bytes()
    if icon_set.integrity != f"sha512-{base64.b64encode(hashlib.sha512(tarball).digest()).decode()}":
        raise DataError(
            f"{icon_set.package} does not match its recorded sha512: the download is damaged or altered; run this again"
        )
    return read_package(tarball, icon_set)


def download_all(sets: tuple[IconSet, ...], folder: Path, progress: Progress, fetch: Fetch) -> list[Package]:
    with ThreadPoolExecutor(4) as threads:
        packages = threads.map(lambda icon_set: download(icon_set, folder, fetch), sets)
        return list(progress.track(packages, total=len(sets), description="Downloading"))


def read_package(tarball: bytes, icon_set: IconSet) -> Package:
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        read = {
            name: json.load(cast(IO[bytes], archive.extractfile(f"package/{name}.json"))) for name in ("icons", "chars", "info")
        }
    icons = read["icons"]
    visible = {name: icon for name, icon in icons["icons"].items() if not icon.get("hidden")}
    drawings = {name: to_svg(icon, icons) for name, icon in visible.items()}
    aliases: dict[str, list[str]] = defaultdict(list)
    for name, alias in icons.get("aliases", {}).items():
        parent = alias["parent"]
        # The one transformation in the pinned packages; a mirrored hand is another emoji, not another name.
        if alias.get("hFlip") and parent in visible:
            drawings[name] = to_svg(visible[parent], icons, mirrored=True)
        else:
            aliases[parent].append(name)
    chars = {code_point(text): name for text, name in read["chars"].items() if name in drawings}
    return Package(icon_set, drawings, aliases, chars, read["info"])


def to_svg(icon: Mapping[str, Any], defaults: Mapping[str, Any], mirrored: bool = False) -> str:
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = (icon.get(side, defaults.get(side, 16)) for side in ("width", "height"))
    body = icon["body"]
    if mirrored:
        body = f'<g transform="matrix(-1 0 0 1 {2 * left + width} 0)">{body}</g>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="black" '
        f'width="{SIZE}" height="{SIZE}" viewBox="{left} {top} {width} {height}">{body}</svg>'
    )


def code_point(text: str) -> str:
    """The code points in lower-case hexadecimal, without zeros in front and without the variation selector FE0F."""
    points = (f"{int(point, 16):x}" for point in text.split("-"))
    return "-".join(point for point in points if point != "fe0f")


def render(svg: str) -> tuple[bytes, str]:
    """PNG and a digest of its pixels; both empty where there is nothing to see."""
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, skip_system_fonts=True)
    except ValueError:
        return b"", ""
    pixels = Image.open(io.BytesIO(png)).convert("RGBA")
    if pixels.getchannel("A").getbbox() is None:
        return b"", ""
    return png, hashlib.sha256(pixels.tobytes()).hexdigest()


def render_all(drawings: list[Drawing], progress: Progress) -> list[Drawing]:
    """The drawings that show something, with their pixels, drawn on all cores."""
    # Processes, because resvg holds Python's lock; spawned, because the caller may run threads. Ctrl-C is the parent's.
    with ProcessPoolExecutor(
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:
        results = pool.map(render, [drawing.svg for drawing in drawings], chunksize=32)
        try:
            rendered = list(progress.track(results, total=len(drawings), description="Drawing"))
        except BrokenProcessPool as error:
            raise DataError(
                "a process that draws was ended from outside, perhaps for want of memory: free some and run this again"
            ) from error
    return [replace(drawing, png=png, digest=digest) for drawing, (png, digest) in zip(drawings, rendered, strict=True) if png]


def merge(drawings: list[Drawing]) -> list[Drawing]:
    """Classes that share a drawing become one, under the smallest label; a style keeps one drawing in a class."""
    parent = {drawing.label: drawing.label for drawing in drawings}

    def root(label: str) -> str:
        while parent[label] != label:
            label = parent[label]
        return label

    first: dict[str, str] = {}
    for drawing in drawings:
        one, other = sorted((root(drawing.label), root(first.setdefault(drawing.digest, drawing.label))))
        parent[other] = one
    names = {drawing.label: drawing.name for drawing in drawings}
    kept: dict[tuple[str, str], Drawing] = {}
    for drawing in sorted(drawings, key=lambda drawing: drawing.label):
        label = root(drawing.label)
        kept.setdefault((label, drawing.style), replace(drawing, label=label, name=names[label]))
    return list(kept.values())


def write(drawings: list[Drawing], folder: Path) -> dict[str, int]:
    """The images and `labels.csv`; the number of images in each split."""
    splits: Counter[str] = Counter()
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "label", "name", "style", "family", "licence", "split"))
        for drawing in sorted(drawings, key=lambda drawing: (drawing.label, drawing.style)):
            path = folder / drawing.label / f"{drawing.style}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(drawing.png)
            icon_set, split = drawing.icon_set, hash_split(drawing.label, PROPORTIONS)
            place = path.relative_to(folder).as_posix()
            table.writerow((place, drawing.label, drawing.name, drawing.style, icon_set.family, icon_set.licence, split))
            splits[split] += 1
    return dict(splits)


def attribution(drawings: Iterable[Drawing], packages: Iterable[Package], label: str) -> str:
    lines = [
        "# Where the drawings come from",
        "",
        f"Each `<{label}>/<style>.png` is an icon of the set of that name, drawn at {SIZE} by {SIZE} pixels, else unchanged.",
        "",
        "| style | package | author | licence |",
        "| --- | --- | --- | --- |",
    ]
    styles = defaultdict(set)
    for drawing in drawings:
        styles[drawing.icon_set].add(drawing.style)
    share_alike = []
    for package in packages:
        icon_set, author, licence = package.icon_set, package.info["author"], package.info["license"]
        if icon_set not in styles:
            continue
        # Not every package links to its licence's text.
        terms = f"[{licence['title']}]({licence['url']})" if "url" in licence else licence["title"]
        names = ", ".join(sorted(styles[icon_set]))
        lines.append(f"| {names} | `{icon_set.package}` | [{author['name']}]({author['url']}) | {terms} |")
        if "-SA-" in icon_set.licence:
            share_alike.append(icon_set.style)
    return "\n".join([*lines, "", f"Share-alike sets: {', '.join(share_alike) or 'none'}.", ""])


def labels(drawings: Iterable[Drawing]) -> set[str]:
    return {drawing.label for drawing in drawings}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions(sets: Iterable[IconSet]) -> dict[str, str]:
    return {icon_set.style: icon_set.version for icon_set in sets}


def find_complete(to: Path, source: Source) -> Summary | None:
    """What an earlier run has left in `to`, nothing if `to` is free; DataError if it holds anything else."""
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return None
    try:
        manifest = json.loads((to / f"{source.name}.json").read_text(encoding="utf-8"))
        expected = (source.format, versions(source.sets), sha256(to / "labels.csv"))
        if (manifest["format"], manifest["packages"], manifest["labels"]) == expected:
            return replace(Summary(**manifest["summary"]), already_there=True)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{to} is not empty and does not hold this version's {source.name}: choose another folder, or delete it")


def build_in(folder: Path, source: Source, progress: Progress, fetch: Fetch) -> Summary:
    packages = download_all(source.sets, folder.parent, progress, fetch)
    found = source.find(packages)
    visible = render_all(found, progress)
    merged = source.merge(visible)
    kept = source.enough(merged)
    splits = write(kept, folder)
    (folder / "ATTRIBUTION.md").write_text(attribution(kept, packages, source.label), encoding="utf-8")
    summary = Summary(
        classes=len(labels(kept)),
        images=len(kept),
        families=len({icon_set.family for icon_set in source.sets}),
        bytes=sum(len(drawing.png) for drawing in kept),
        splits=splits,
        merged=len(labels(visible)) - len(labels(merged)),
        blank=len(found) - len(visible),
    )
    manifest = {
        "format": source.format,
        "packages": versions(source.sets),
        "labels": sha256(folder / "labels.csv"),
        "summary": asdict(summary),
    }
    (folder / f"{source.name}.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return summary


def build(to: Path, source: Source, progress: Progress | None, fetch: Fetch) -> Summary:
    """Download, draw and label the drawings of `source` into `to`, all of them or nothing.

    A complete folder is left as it is. Raises DataError, in one sentence, for anything that stands in the way.
    """
    started = time.monotonic()
    to = to.resolve()
    progress = progress or Progress(disable=True)
    try:
        if complete := find_complete(to, source):
            return complete
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as temporary:
            # One level down, because a temporary folder can be read by its owner only.
            folder = Path(temporary) / source.name
            summary = build_in(folder, source, progress, fetch)
            folder.rename(to)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"the disk of {to} is full: free about 200 MB, or choose another folder") from error
        raise DataError(f"{to} could not be written ({error}): choose another folder") from error
    return replace(summary, seconds=time.monotonic() - started)
