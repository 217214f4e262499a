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
from model.metrics import leave_one_out

from .datasets import DataError
from .datasets.labels import Dataset
from .datasets.pixels import decode_all
from .export import untrained

Advance = Callable[[int], None]


def evaluate(encoder: Encoder, data: Dataset, mask: str | None = None, advance: Advance = lambda _: None) -> dict[str, Any]:
    """Figures of ``encoder`` on all of ``data``. Raises ``DataError``."""
    vectors = encoder.encode(decode_all(data.paths, encoder.transform, advance))
    return figures(vectors, data, mask)


def figures(vectors: np.ndarray, data: Dataset, mask: str | None = None) -> dict[str, Any]:
    try:
        found: dict[str, Any] = {"classes": len(set(data.labels)), **leave_one_out(vectors, data.labels).figures()}
        if mask is not None:
            masks = leave_one_out(vectors, data.labels, data.column(mask))
            found["masked"] = {"by": mask, **masks.figures()}
    except ValueError as error:
        raise DataError(f"{data.root}: {error} A class needs two images at least.") from error
    return found


def compare_with_backbone(bundle: Bundle, data: Dataset, mask: str | None, advance: Advance = lambda _: None) -> dict[str, Any]:
    """``{"bundle": figures, "backbone": figures}``: what training gained over its starting point, in one run."""
    found = {"bundle": evaluate(open_encoder(bundle), data, mask, advance)}
    with TemporaryDirectory() as folder:
        backbone = untrained(Path(folder) / "backbone", bundle.manifest.transform, bundle.manifest.architecture.backbone)
        found["backbone"] = evaluate(open_encoder(backbone), data, mask, advance)
    return found
