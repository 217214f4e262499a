"""Where everything came from: settings that are not the defaults, versions of what made the bundle, licences of the data."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..config import TrainingConfig

_PACKAGES = ("lookalike", "torch", "timm", "torchvision", "openvino")
_STATEMENTS = ("licence", "license", "notice", "attribution", "copying", "copyright")  # how files that say it begin
_COLUMNS = ("licence", "license")
_MOST = 12  # licences that are listed


@dataclass(frozen=True)
class Setting:
    name: str
    value: str
    default: str

    @property
    def changed(self) -> bool:
        return self.value != self.default


@dataclass(frozen=True)
class Licences:
    """What a data set says about its licences: ``counts`` of images by licence, most first, out of its column, where ``others``
    are images of more licences than are listed; and the ``files`` that say more."""

    counts: tuple[tuple[str, int], ...] = ()
    others: int = 0
    files: tuple[str, ...] = ()


def settings(config: Mapping[str, Any]) -> list[Setting]:
    """All of a training's settings, as its record has them, beside their defaults."""
    defaults = _flat(TrainingConfig().model_dump(mode="json"))
    values = defaults | {name: value for name, value in _flat(config).items() if name in defaults}
    return [Setting(name, _text(value), _text(defaults[name])) for name, value in values.items()]


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a folder that was not installed
            continue
    return found


def licences(root: Path, columns: Mapping[str, Sequence[str]]) -> Licences:
    """Of the data set in the folder ``root``, whose table has these ``columns``."""
    files = sorted(file.name for file in root.iterdir() if file.name.lower().startswith(_STATEMENTS)) if root.is_dir() else []
    column = next((columns[name] for name in columns if name.lower() in _COLUMNS), ())
    counts = Counter(text or "not stated" for text in column).most_common()
    return Licences(tuple(counts[:_MOST]), sum(count for _, count in counts[_MOST:]), tuple(files))


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Settings by their names with dots, as people write them."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {above + name: value}
    return found


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return "none" if value in (None, "") else str(value)
