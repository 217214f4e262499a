"""A labelled image set that anybody can rebuild: emoji, each drawn in up to twelve styles.

In: a folder that does not exist yet; npm, which downloads twelve icon packages at pinned versions.
Out: that folder: `<code point>/<style>.png` (128 px, transparent), `labels.csv`, `ATTRIBUTION.md` and `emoji.json`.
A class is an emoji, an image is one style's drawing of it. Left out: emoji in fewer than six styles, and skin tones.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.progress import Progress

from . import iconify
from .iconify import Drawing, Fetch, IconSet, Package, Source, Summary, npm_pack

FORMAT = 1
MIN_STYLES = 6
SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}


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
            drawings.append(Drawing(code, package.icon_set.style, name, package.drawings[icon], package.icon_set))
    return with_enough_styles(drawings)


def with_enough_styles(drawings: Iterable[Drawing]) -> list[Drawing]:
    drawings = list(drawings)
    styles = Counter(drawing.label for drawing in drawings)
    return [drawing for drawing in drawings if styles[drawing.label] >= MIN_STYLES]


def build(to: Path, *, progress: Progress | None = None, sets: tuple[IconSet, ...] = SETS, fetch: Fetch = npm_pack) -> Summary:
    """Download, draw and label the emoji into `to`, all of them or nothing.

    A complete folder is left as it is. Raises DataError, in one sentence, for anything that stands in the way.
    """
    source = Source("emoji", "code point", FORMAT, sets, find_drawings, iconify.merge, with_enough_styles)
    return iconify.build(to, source, progress, fetch)
