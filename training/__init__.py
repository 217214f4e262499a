"""Labelled images in, a bundle out. ``training.fit`` is all of it in one call; everything else is in the modules."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.bundle import Bundle


def fit(
    data: str | Path,
    *,
    to: str | Path,
    preset: str = "best",
    mask: str | None = None,
    minutes: float | None = None,
    start: str | Path | None = None,
    final_fit: bool = False,
    resume: bool = False,
    audit: bool = False,
    comparison: str | Path | None = None,
    **settings: Any,
) -> "Bundle | None":
    """What ``lookalike train`` does, from Python: ``training.fit("shop/", to="shop-bundle", epochs=5)``.

    ``data``: a folder or a table of labelled images; ``settings``: fields of ``training.config.TrainingConfig``. The figures
    are ``training.train.metrics(bundle)``. Raises ``model.Failure`` with a sentence that says what to do.
    """
    from .config import resolve  # imported here, because measuring and checking work without torch
    from .datasets.labels import read
    from .train import Options, train

    options = Options(
        mask=mask,
        minutes=minutes,
        start=None if start is None else Path(start),
        final_fit=final_fit,
        resume=resume,
        audit=audit,
        comparison=None if comparison is None else Path(comparison),
    )
    return train(read(Path(data)), Path(to), resolve(preset, **settings), options)
