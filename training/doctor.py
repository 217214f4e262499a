"""This machine, and labelled images, in; what works here and what a training would cost out. Measured, not looked up."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.transform import Transform

from .config import TrainingConfig
from .datasets.labels import Dataset
from .datasets.memory import pixel_bytes
from .datasets.pixels import look
from .examples import of
from .processes import alone
from .trainer import seconds_a_step

PICTURES = 400  # that are decoded to see how long it takes
STEPS = 16  # of training


def machine(folder: Path) -> dict[str, Any]:
    """Cores, memory and free disk in GB, torch and what it computes on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(folder).free / 1e9, 1),
        "torch": torch.__version__,
        "device": device,
        "npm": shutil.which("npm") is not None,
    }


def estimate(data: Dataset, config: TrainingConfig) -> dict[str, Any]:
    """Seconds that reading the pictures and an epoch of training take here, from a sample of each.

    Nothing about training where no picture of the sample can be read. Raises ``DataError`` when there is nothing to train on.
    """
    part, transform = data.split("train"), Transform(size=config.image_size, fit=config.fit)
    sample = np.random.default_rng(0).permutation(len(data))[:PICTURES]
    started = time.monotonic()
    seen = look(data.rows(sample.tolist()), transform)
    a_picture = (time.monotonic() - started) / len(sample)
    readable = seen.pixels[[row for row in range(len(sample)) if row not in seen.faults]]
    found = {
        "images": len(data),
        "training_images": len(part),
        "training_classes": len(set(part.labels)),
        "unreadable_in_sample": len(seen.faults),
        "reading_seconds": round(a_picture * len(data), 1),
        "pixels_gb": round(pixel_bytes(len(data), transform.size) / 1e9, 2),
        "epochs": config.epochs,
    }
    if not len(readable):
        return found
    a_step = _seconds_a_step(readable, config)
    epoch = a_step * len(part) / config.batch
    return found | {
        "images_per_second": round(config.batch / a_step, 1),
        "epoch_seconds": round(epoch, 1),
        "training_seconds": round(epoch * config.epochs, 1),
    }


def _seconds_a_step(pixels: np.ndarray, config: TrainingConfig) -> float:
    """Of real steps on these pixels; their labels do not matter for the time."""
    pixels = np.resize(pixels, (config.batch, *pixels.shape[1:]))
    examples = of(pixels, [str(row % 16) for row in range(len(pixels))])
    return seconds_a_step(examples, config.model_copy(update={"first_size": None}), alone(), STEPS)[config.train_size]
