"""Labelled images in, a bundle out: decode → fit → export → measure → calibrate. What ``lookalike train`` does."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from model import confidence
from model.bundle import Bundle, check_target
from model.encoder import open_encoder
from model.transform import Transform

from .calibrate import SIZES, calibrate, some_classes
from .config import TrainingConfig
from .datasets.check import decode
from .datasets.labels import Dataset
from .datasets.problems import Problem
from .datasets.split import SPLITS
from .evaluate import check, evaluate
from .export import save
from .trainer import Step, architecture, fit


def train(
    data: Dataset,
    to: Path,
    config: TrainingConfig,
    mask: str | None,
    progress: Progress,
    warn: Callable[[list[Problem]], None] = lambda _: None,
) -> Bundle:
    """Fit on the train classes, calibrate on the validation classes, measure once on the test classes.

    ``warn`` hears of what is doubtful in the data. Raises a ``Failure``; then nothing is written.
    """
    check_target(to)
    rows = {split: [row for row, found in enumerate(data.table["split"]) if found == split] for split in SPLITS}
    part, test = data.split("train"), data.split("test")
    # Whatever is wrong with the pictures to be measured is told now, not after the training.
    check(test.table, mask, data.root)
    transform = Transform(size=config.image_size, fit=config.fit)
    reading = progress.add_task("Reading pictures", total=len(data))
    pictures, warnings = decode(data, transform, lambda n: progress.advance(reading, n))
    warn(warnings)
    pixels = pictures.pixels[rows["train"]]

    started = time.monotonic()
    network = fit(pixels, part.labels, config, _shown(progress, len(part) * config.epochs))
    seconds = time.monotonic() - started

    record = {"config": config.model_dump(), "seconds": round(seconds, 1), "torch": torch.__version__}
    record |= {"classes": len(set(part.labels)), "images": len(part), "splitting": _record(data)}
    return save(
        network,
        architecture(config),
        transform,
        to,
        training=record,
        sample=pixels[:: max(1, len(pixels) // 200)],
        reports=lambda bundle: _reports(bundle, data, pictures.pixels, rows, mask, progress),
    )


def _reports(
    bundle: Bundle, data: Dataset, pixels: np.ndarray, rows: dict[str, list[int]], mask: str | None, progress: Progress
) -> dict[str, Any]:
    """What the finished bundle is worth: its calibration, and its figures on the test classes beside its backbone's."""
    labels = np.array(data.labels)
    fillers = some_classes(np.array(rows["train"]), labels, int((max(SIZES) - 1) * len(rows["validation"])))
    seen = [rows["validation"], fillers.tolist()]
    measuring = progress.add_task("Measuring", total=sum(map(len, seen)) + 2 * len(rows["test"]))

    def advance(images: int) -> None:
        progress.advance(measuring, images)

    encoder, vectors = open_encoder(bundle), []
    for part in seen:
        vectors.append(encoder.encode(pixels[part]))
        advance(len(part))
    found = calibrate(vectors[0], labels[seen[0]], vectors[1], labels[seen[1]])
    test = data.rows(rows["test"]).table
    measured = evaluate(bundle, pixels[rows["test"]], test, mask, calibration=found, advance=advance)
    return {"metrics.json": measured.figures} | ({} if found is None else {confidence.FILE: found.model_dump()})


def _record(data: Dataset) -> dict[str, Any] | None:
    return None if data.splitting is None else data.splitting.model_dump()


def metrics(bundle: Bundle) -> dict[str, Any]:
    """What was measured when the bundle was made."""
    return json.loads((bundle.path / "metrics.json").read_text())


def _shown(progress: Progress, images: int) -> Any:
    task = progress.add_task("Training", total=images)
    started = time.monotonic()

    def report(step: Step) -> None:
        progress.advance(task, step.images)
        speed = progress.tasks[task].completed / (time.monotonic() - started)
        progress.update(task, note=f"loss {step.loss:.3f}  {speed:.0f} images/s")

    return report
