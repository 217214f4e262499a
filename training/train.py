"""Labelled images in, a bundle out: read → split → decode → fit → export → measure. What ``lookalike train`` does."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from model.bundle import Bundle, check_target
from model.transform import Transform

from .config import TrainingConfig
from .datasets.labels import Dataset
from .datasets.pixels import decode_all
from .evaluate import check, compare_on
from .export import save
from .trainer import Step, architecture, fit


def train(data: Dataset, to: Path, config: TrainingConfig, mask: str | None, progress: Progress) -> Bundle:
    """Fit on the train classes, measure once on the test classes. Raises a ``Failure``; then nothing is written."""
    check_target(to)
    part, test = data.split("train"), data.split("test")
    # Whatever is wrong with the pictures to be measured is told now, not after the training.
    check(test, mask)
    transform = Transform(size=config.image_size, fit=config.fit)
    reading = progress.add_task("Reading pictures", total=len(part) + len(test))
    pixels, unseen = (decode_all(each.paths, transform, lambda n: progress.advance(reading, n)) for each in (part, test))

    started = time.monotonic()
    network = fit(pixels, part.labels, config, _shown(progress, len(part) * config.epochs))
    seconds = time.monotonic() - started

    measuring = progress.add_task("Measuring", total=2 * len(test))

    def measure(bundle: Bundle) -> dict[str, Any]:
        return compare_on(unseen, bundle, test, mask, lambda n: progress.advance(measuring, n))

    record = {"config": config.model_dump(), "seconds": round(seconds, 1), "torch": torch.__version__}
    record |= {"classes": len(set(part.labels)), "images": len(part)}
    return save(
        network,
        architecture(config),
        transform,
        to,
        training=record,
        sample=pixels[:: max(1, len(pixels) // 200)],
        measure=measure,
    )


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
