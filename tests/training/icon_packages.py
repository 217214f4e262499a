"""Icon packages in miniature, as npm packs them: icons in, the bytes of a tarball or an unpacked package out."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from training.datasets import iconify
from training.datasets.iconify import IconSet, Package

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
    return iconify.read_package(tarball(drawn, chars, **more), icon_set(style))


class Registry:
    """Packages by style; a `fetch` that hands them out and remembers, and their sets with the right digests."""

    def __init__(self, packages: dict[str, bytes]) -> None:
        self.packages = packages
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
