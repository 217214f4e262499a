"""An encoder and labelled images in, retrieval figures out: every test image queries all the others.

Figures are a plain mapping: ``recall@1`` … ``map@r``, ``queries``, ``classes``; with a mask column the same again under
``masked``, where hits that share the query's value of that column do not count (the same hand, the same photo session).
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from model.bundle import Bundle
from model.encoder import Encoder, open_encoder
from model.metrics import leave_one_out, right_answers

from .datasets import DataError
from .datasets.labels import Dataset
from .datasets.pixels import decode_all
from .export import untrained

Advance = Callable[[int], None]


def check(data: Dataset, mask: str | None = None) -> None:
    """Raises ``DataError`` when there is nothing to measure in ``data``: to be told before a training, not after it."""
    for masks in (None, mask and data.column(mask)):
        if not right_answers(data.labels, masks).any():
            other = "" if masks is None else f" with another {mask}"
            raise DataError(f"{data.root}: no image to be measured has a second one of its class{other}. Add some.")


def evaluate(encoder: Encoder, data: Dataset, mask: str | None = None, advance: Advance = lambda _: None) -> dict[str, Any]:
    """Figures of ``encoder`` on all of ``data``. Raises ``DataError``."""
    return figures(encoder.encode(decode_all(data.paths, encoder.transform, advance)), data, mask)


def figures(vectors: np.ndarray, data: Dataset, mask: str | None = None) -> dict[str, Any]:
    check(data, mask)
    found: dict[str, Any] = {"classes": len(set(data.labels)), **leave_one_out(vectors, data.labels).figures()}
    if mask is not None:
        found["masked"] = {"by": mask, **leave_one_out(vectors, data.labels, data.column(mask)).figures()}
    return found


def compare_with_backbone(bundle: Bundle, data: Dataset, mask: str | None, advance: Advance = lambda _: None) -> dict[str, Any]:
    """Figures of ``bundle`` and its backbone on all of ``data``. Raises ``DataError``."""
    return compare_on(decode_all(data.paths, bundle.manifest.transform), bundle, data, mask, advance)


def compare_on(pixels: np.ndarray, bundle: Bundle, data: Dataset, mask: str | None, advance: Advance) -> dict[str, Any]:
    """``{"bundle": figures, "backbone": figures}``: what training gained over its starting point, in one run.

    ``pixels`` are ``data``'s; ``advance`` hears of each of them twice.
    """
    found = {}
    with TemporaryDirectory() as folder:
        backbone = untrained(Path(folder) / "backbone", bundle.manifest.transform, bundle.manifest.architecture.backbone)
        for name, each in (("bundle", bundle), ("backbone", backbone)):
            found[name] = figures(open_encoder(each).encode(pixels), data, mask)
            advance(len(pixels))
    return found
