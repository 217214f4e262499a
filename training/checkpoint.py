"""A training's state in, one file out that is always whole: written under another name, synced, then renamed."""

import contextlib
import os
from pathlib import Path
from typing import Any

import torch

from model import Failure
from model.bundle import sync


class CheckpointError(Failure):
    """The state could not be kept, or what was kept cannot be used; the message says what to do."""


def write(path: Path, state: dict[str, Any]) -> None:
    """Raises ``CheckpointError``; then the file before it is still there, untouched."""
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with draft.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync(path.parent)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
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
