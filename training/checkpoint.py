"""A training's state in, one file out that is always whole: written under another name, synced, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from model import Failure
from model.bundle import sync


class CheckpointError(Failure):
    """The state could not be kept, or what was kept cannot be used; the message says what to do."""


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """What is written in the block becomes ``path`` when it is on the disk; when writing fails, ``path`` stays as it was."""
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def write(path: Path, state: dict[str, Any]) -> None:
    """Raises ``CheckpointError``; then the file before it is still there, untouched."""
    try:
        with whole(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        before = "the one before it is whole" if path.exists() else "there is none before it"
        raise CheckpointError(
            f"The checkpoint {path} could not be written ({_reason(error)}); {before}. "
            "Make room or mend the folder, then go on with --resume."
        ) from error


def read(path: Path) -> dict[str, Any] | None:
    """None where there is none yet. Raises ``CheckpointError`` when the file is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a damaged archive or pickle leads to
        raise CheckpointError(
            f"The checkpoint {path} is damaged ({_reason(error)}). Remove {path.parent} to begin anew."
        ) from error


def _reason(error: BaseException) -> str:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, OSError):
        seen = seen.__cause__ or seen.__context__
    told = str((seen.strerror if isinstance(seen, OSError) else None) or error)
    return told.splitlines()[0] if told else type(error).__name__  # an EOFError says nothing
