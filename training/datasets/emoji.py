"""A labelled image set that anybody can rebuild: emoji, each drawn in up to twelve styles.

In: a folder that does not exist yet; npm, which downloads twelve icon packages at pinned versions.
Out: that folder: `<code point>/<style>.png` (128 px, transparent), `labels.csv`, `ATTRIBUTION.md` and `emoji.json`.
A class is an emoji, an image is one style's drawing of it. Left out: emoji in fewer than six styles, and skin tones.
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
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
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

FORMAT = 1
SIZE = 128
MIN_STYLES = 6
PROPORTIONS = {"test": 0.5, "train": 0.4, "validation": 0.1}
SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}


@dataclass(frozen=True)
class IconSet:
    """One style: an npm package at a pinned version. Styles of one family were drawn by the same hand."""

    style: str
    version: str
    family: str
    licence: str
    integrity: str

    @property
    def package(self) -> str:
        return f"@iconify-json/{self.style}@{self.version}"


# A class takes its name, and a name of two meanings its meaning, from the first set that has it.
# fmt: off
SETS = (
    IconSet("noto", "1.2.9", "noto", "Apache-2.0",
            "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw=="),
    IconSet("fluent-emoji-flat", "1.2.6", "fluent", "MIT",
            "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw=="),
    IconSet("fluent-emoji-high-contrast", "1.2.6", "fluent", "MIT",
            "sha512-esqhZPpkrF7sNX3NsLoh8KW64okEr/bzko7WNnFP+qTJGAqDPDYjp0925yxuivXy3HtVQB8xhIKu3+Nq1byX5w=="),
    IconSet("twemoji", "1.2.5", "twemoji", "CC-BY-4.0",
            "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw=="),
    IconSet("openmoji", "1.2.29", "openmoji", "CC-BY-SA-4.0",
            "sha512-vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ=="),
    IconSet("fluent-emoji", "1.2.7", "fluent", "MIT",
            "sha512-D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA=="),
    IconSet("noto-v1", "1.2.5", "noto", "Apache-2.0",
            "sha512-/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA=="),
    IconSet("emojione", "1.2.3", "emojione", "CC-BY-4.0",
            "sha512-T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg=="),
    IconSet("emojione-monotone", "1.2.1", "emojione", "CC-BY-4.0",
            "sha512-cZSNcPsuiAD6HCzCh/2dYKGh3pNI0jJlxBxQWfC33cQsPtqYZqulGBvlkThXYNvDl8VxgVHT9u+izyX/yeEIkA=="),
    IconSet("emojione-v1", "1.2.3", "emojione", "CC-BY-SA-4.0",
            "sha512-UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww=="),
    IconSet("fxemoji", "1.2.2", "fxemoji", "Apache-2.0",
            "sha512-UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ=="),
    IconSet("streamline-emojis", "1.2.4", "streamline", "CC-BY-4.0",
            "sha512-iNr9T9XuZVTyQPJO8ZlLxBzPkpi7qMl+z1l0C31vpEMqhPMelth3n7CeWQYtixdetDPdI81yeG4ROqjWpYJE6A=="),
)

# Icons whose names mean something else elsewhere, and what they show; nothing where that is no emoji.
SHOWS: Mapping[str, Mapping[str, str]] = {
    "fxemoji": {
        "bunny": "rabbit-face", "bunnyside": "rabbit", "cat": "cat-face", "catside": "cat",
        "dog": "dog-face", "dogside": "dog", "dragonhead": "dragon-face", "dragonside": "dragon",
        "leopardside": "leopard", "mouse": "mouse-face", "mouseside": "mouse", "pig": "pig-face", "pigside": "pig",
        "tiger": "tiger-face", "tigerside": "tiger",
        "kiss": "kissing-face", "kisseyes": "kissing-face-with-smiling-eyes", "kissing": "face-blowing-a-kiss",
        "kissclosedeyes": "kissing-face-with-closed-eyes", "sunglasses": "smiling-face-with-sunglasses",
        "construction": "building-construction", "constructionsign": "construction", "star": "glowing-star",
        "umbrella": "closed-umbrella", "keyboard": "", "wiredkeyboard": "keyboard", "window": "",
    },
    "emojione-v1": {"keyboard": "", "window": ""},
    "streamline-emojis": {"right-anger-bubble": "", "turkey": "flag-turkey"},
}
# fmt: on


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
    """One style's drawing of an emoji, as SVG and then as PNG."""

    code: str
    style: str
    name: str
    svg: str
    png: bytes = b""
    digest: str = ""


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


def plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("flag-for-", "flag-"))


def meanings(packages: Iterable[Package]) -> dict[str, str]:
    """The code point that most of the packages give to a name; the first of them where they are even."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for package in packages:
        for code, name in package.chars.items():
            for spelling in {plain(known) for known in (name, *package.aliases.get(name, ()))}:
                votes[spelling][code] += 1
    return {spelling: codes.most_common(1)[0][0] for spelling, codes in votes.items()}


def character_names(codes: Iterable[str]) -> dict[str, str]:
    """Code points by the Unicode names of single characters, which older icon sets went by."""
    names = ((unicodedata.name(chr(int(code, 16)), ""), code) for code in codes if "-" not in code)
    return {plain(name): code for name, code in names if name}


def spellings(package: Package, name: str) -> Iterator[str]:
    """The names an icon may be known by, the surest first."""
    shown = SHOWS.get(package.icon_set.style, {}).get(name)
    if shown is not None:
        yield shown
        return
    base = re.sub(r"-\d+$", "", name)
    yield from (name, *package.aliases.get(name, ()), base, f"flag-{base}", f"{base}-face")


def match(package: Package, meaning: Mapping[str, str]) -> dict[str, str]:
    """Icon names by code point: as `chars.json` has it, else by name. No skin tones."""
    found = []
    for name in package.drawings.keys() - set(package.chars.values()):
        known = ((rank, meaning.get(plain(text))) for rank, text in enumerate(spellings(package, name)))
        rank, code = next(((rank, code) for rank, code in known if code), (0, None))
        if code:
            found.append((rank, name, code))
    matched = dict(package.chars)
    for _, name, code in sorted(found):
        matched.setdefault(code, name)
    return {code: name for code, name in matched.items() if not SKIN_TONES.intersection(code.split("-"))}


def find_drawings(packages: list[Package]) -> list[Drawing]:
    """Every drawing of the emoji that have enough styles."""
    everyone = meanings(packages)
    characters = character_names(everyone.values())
    names: dict[str, str] = {}
    drawings = []
    for package in packages:
        family = meanings(other for other in packages if other.icon_set.family == package.icon_set.family)
        for code, icon in match(package, characters | everyone | family).items():
            name = names.setdefault(code, icon.replace("-", " "))
            drawings.append(Drawing(code, package.icon_set.style, name, package.drawings[icon]))
    return with_enough_styles(drawings)


def with_enough_styles(drawings: Iterable[Drawing]) -> list[Drawing]:
    drawings = list(drawings)
    styles = Counter(drawing.code for drawing in drawings)
    return [drawing for drawing in drawings if styles[drawing.code] >= MIN_STYLES]


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
    """Classes that share a drawing become one, under the smallest code point; a style keeps one drawing in a class."""
    parent = {drawing.code: drawing.code for drawing in drawings}

    def root(code: str) -> str:
        while parent[code] != code:
            code = parent[code]
        return code

    first: dict[str, str] = {}
    for drawing in drawings:
        one, other = sorted((root(drawing.code), root(first.setdefault(drawing.digest, drawing.code))))
        parent[other] = one
    names = {drawing.code: drawing.name for drawing in drawings}
    kept: dict[tuple[str, str], Drawing] = {}
    for drawing in sorted(drawings, key=lambda drawing: drawing.code):
        label = root(drawing.code)
        kept.setdefault((label, drawing.style), replace(drawing, code=label, name=names[label]))
    return list(kept.values())


def write(drawings: list[Drawing], sets: Iterable[IconSet], folder: Path) -> dict[str, int]:
    """The images and `labels.csv`; the number of images in each split."""
    origin = {icon_set.style: icon_set for icon_set in sets}
    splits: Counter[str] = Counter()
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "label", "name", "style", "family", "licence", "split"))
        for drawing in sorted(drawings, key=lambda drawing: (drawing.code, drawing.style)):
            path = folder / drawing.code / f"{drawing.style}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(drawing.png)
            icon_set, split = origin[drawing.style], hash_split(drawing.code, PROPORTIONS)
            table.writerow(
                (
                    path.relative_to(folder).as_posix(),
                    drawing.code,
                    drawing.name,
                    drawing.style,
                    icon_set.family,
                    icon_set.licence,
                    split,
                )
            )
            splits[split] += 1
    return dict(splits)


def attribution(packages: Iterable[Package]) -> str:
    lines = [
        "# Where the drawings come from",
        "",
        f"Each `<code point>/<style>.png` is an icon of the set of that name, drawn at {SIZE} by {SIZE} pixels, else "
        "unchanged.",
        "",
        "| style | package | author | licence |",
        "| --- | --- | --- | --- |",
    ]
    share_alike = []
    for package in packages:
        icon_set, author, licence = package.icon_set, package.info["author"], package.info["license"]
        lines.append(
            f"| {icon_set.style} | `{icon_set.package}` | [{author['name']}]({author['url']}) "
            f"| [{licence['title']}]({licence['url']}) |"
        )
        if "-SA-" in icon_set.licence:
            share_alike.append(icon_set.style)
    return "\n".join([*lines, "", f"Share-alike sets: {', '.join(share_alike) or 'none'}.", ""])


def codes(drawings: Iterable[Drawing]) -> set[str]:
    return {drawing.code for drawing in drawings}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions(sets: Iterable[IconSet]) -> dict[str, str]:
    return {icon_set.style: icon_set.version for icon_set in sets}


def find_complete(to: Path, sets: Iterable[IconSet]) -> Summary | None:
    """What an earlier run has left in `to`, nothing if `to` is free; DataError if it holds anything else."""
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return None
    try:
        manifest = json.loads((to / "emoji.json").read_text(encoding="utf-8"))
        labels = sha256(to / "labels.csv")
        if (manifest["format"], manifest["packages"], manifest["labels"]) == (FORMAT, versions(sets), labels):
            return replace(Summary(**manifest["summary"]), already_there=True)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{to} is not empty and does not hold this version's emoji: choose another folder, or delete it")


def build_in(folder: Path, progress: Progress, sets: tuple[IconSet, ...], fetch: Fetch) -> Summary:
    packages = download_all(sets, folder.parent, progress, fetch)
    found = find_drawings(packages)
    visible = render_all(found, progress)
    merged = merge(visible)
    kept = with_enough_styles(merged)
    splits = write(kept, sets, folder)
    (folder / "ATTRIBUTION.md").write_text(attribution(packages), encoding="utf-8")
    summary = Summary(
        classes=len(codes(kept)),
        images=len(kept),
        families=len({icon_set.family for icon_set in sets}),
        bytes=sum(len(drawing.png) for drawing in kept),
        splits=splits,
        merged=len(codes(visible)) - len(codes(merged)),
        blank=len(found) - len(visible),
    )
    manifest = {
        "format": FORMAT,
        "packages": versions(sets),
        "labels": sha256(folder / "labels.csv"),
        "summary": asdict(summary),
    }
    (folder / "emoji.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return summary


def build(to: Path, *, progress: Progress | None = None, sets: tuple[IconSet, ...] = SETS, fetch: Fetch = npm_pack) -> Summary:
    """Download, draw and label the emoji into `to`, all of them or nothing.

    A complete folder is left as it is. Raises DataError, in one sentence, for anything that stands in the way.
    """
    started = time.monotonic()
    to = to.resolve()
    progress = progress or Progress(disable=True)
    try:
        if complete := find_complete(to, sets):
            return complete
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as temporary:
            # One level down, because a temporary folder can be read by its owner only.
            folder = Path(temporary) / "emoji"
            summary = build_in(folder, progress, sets, fetch)
            folder.rename(to)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"the disk of {to} is full: free about 200 MB, or choose another folder") from error
        raise DataError(f"{to} could not be written ({error}): choose another folder") from error
    return replace(summary, seconds=time.monotonic() - started)
