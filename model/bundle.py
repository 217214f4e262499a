"""A bundle: the folder that holds all that turns an image into a vector, and nothing else.

``bundle.json`` (this module's ``Manifest``), ``weights.safetensors``, ``openvino/model.{xml,bin}``, ``onnx/model.onnx``,
``metrics.json``, ``calibration.json``.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.numpy import load_file

from . import Failure
from . import transform as transform_rules
from .transform import Transform


class BundleError(Failure):
    """The folder is not a bundle that can be used; the message says why and what to do."""


Pooling = Literal["avg", "avg+max", "cls"]
Channels = tuple[float, float, float]


class Architecture(BaseModel):
    """``dim`` is what comes out; without a head it is the backbone's own number of features.

    ``input_size`` (pixels) is set for backbones that take one size only. Pixels in [0, 1] are normalised by ``mean`` and
    ``std``; None is what ``model.backbones`` knows for the name.
    """

    model_config = ConfigDict(frozen=True)

    backbone: str = "efficientnet_lite0"
    pooling: Pooling = "avg"
    head: bool = True
    dim: int = 128
    input_size: int | None = None
    mean: Channels | None = None
    std: Channels | None = None


class Agreement(BaseModel):
    """Cosines between torch in float32 and another runtime or precision, over ``images`` pictures."""

    images: int
    median: float
    minimum: float

    @property
    def holds(self) -> bool:
        return self.median >= 0.999 and self.minimum >= 0.99


class Manifest(BaseModel):
    """What ``bundle.json`` says."""

    format: Literal[1] = 1
    name: str
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    fingerprint: str
    rules: int = 1  # of decoding and resizing, when it was made
    architecture: Architecture
    transform: Transform
    origin: str
    training: dict[str, Any] | None = None
    agreement: dict[str, Agreement] = {}
    files: dict[str, str] = {}


@dataclass(frozen=True)
class Bundle:
    path: Path
    manifest: Manifest

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def openvino(self) -> Path:
        return self.path / "openvino" / "model.xml"


def load(path: Path) -> Bundle:
    """Open and verify a bundle. Raises ``BundleError`` when a file is missing, changed or of a newer format."""
    try:
        manifest = Manifest.model_validate_json((path / "bundle.json").read_bytes())
    except FileNotFoundError as error:
        raise BundleError(
            f"{path} is not a bundle: it has no bundle.json. `lookalike train` makes one from labelled pictures, "
            "`lookalike bundle` makes one without labels."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        wrong = " ".join(map(str, (*first["loc"], first["msg"])))
        raise BundleError(
            f"{path / 'bundle.json'} cannot be read ({wrong}). If a newer Lookalike made it, update this one."
        ) from error
    except OSError as error:
        raise BundleError(f"{path / 'bundle.json'} cannot be read ({error}).") from error
    if manifest.rules != transform_rules.RULES:
        raise BundleError(
            f"{path} was made with rules {manifest.rules} of decoding pictures, and this Lookalike has rules "
            f"{transform_rules.RULES}: its vectors would be others. Make the bundle again, or use the Lookalike that made it."
        )
    for name, digest in ({"weights.safetensors": ""} | manifest.files).items():
        if not (path / name).is_file() or file_digest(path / name) != digest:
            raise BundleError(f"{path / name} is missing or was changed since the bundle was made. Make the bundle again.")
    bundle = Bundle(path, manifest)
    if fingerprint(load_file(bundle.weights), manifest.architecture, manifest.transform) != manifest.fingerprint:
        raise BundleError(f"{path}: the weights do not belong to this bundle.json. Make the bundle again.")
    return bundle


@contextmanager
def writing(to: Path) -> Iterator[Path]:
    """A temporary folder beside ``to`` that takes its place when the block ends well, and vanishes when it does not.

    Raises ``BundleError`` when ``to`` holds something that is not a bundle.
    """
    check_target(to)
    to = to.resolve()  # a link stays; what it points to is replaced
    to.parent.mkdir(parents=True, exist_ok=True)
    draft = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        _replace(draft, to)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_target(to: Path) -> None:
    """Raises ``BundleError`` when ``to`` holds something that a bundle must not replace, or cannot be replaced."""
    if to.name in ("", ".."):
        raise BundleError(f"{to} cannot be replaced by a bundle. Name a folder below it.")
    if to.exists() and not (to / "bundle.json").exists() and (not to.is_dir() or any(to.iterdir())):
        raise BundleError(f"{to} exists and is not a bundle. Choose another place; nothing was written.")


def seal(folder: Path, manifest: Manifest) -> None:
    """Write ``bundle.json`` with the digest of every file in ``folder``, and sync all of them to disk."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / "bundle.json")
    manifest.files = {file.relative_to(folder).as_posix(): file_digest(file) for file in files}
    (folder / "bundle.json").write_text(manifest.model_dump_json(indent=2) + "\n")
    for path in (folder, *folder.rglob("*")):
        sync(path)


def fingerprint(tensors: Mapping[str, np.ndarray], architecture: Architecture, transform: Transform) -> str:
    """SHA-256 of all that decides a vector's value; vectors are comparable only where it is equal."""
    rules = {
        "architecture": _hashed(architecture),
        "transform": transform.model_dump(),
        "decoding": transform_rules.RULES,
    }
    digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _hashed(architecture: Architecture) -> dict[str, Any]:
    """Fields that came after the first bundles count only where they say something, so that those keep their fingerprint."""
    later = ("input_size", "mean", "std")
    return {name: value for name, value in architecture.model_dump().items() if name not in later or value is not None}


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Force a file or a folder's entries to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(draft: Path, to: Path) -> None:
    old = to.with_name(f".{to.name}.{os.getpid()}.old")
    if to.exists():
        to.rename(old)
    draft.rename(to)
    sync(to.parent)
    shutil.rmtree(old, ignore_errors=True)
