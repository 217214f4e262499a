"""Examples and settings in, what a training will be out: classes, images, parameters, memory, minutes; and, where minutes are
given, how many epochs fit into them."""

import resource
import sys
from bisect import bisect_right
from typing import Any

import torch

from model.network import EmbeddingNetwork

from .config import TrainingConfig
from .datasets.memory import available_memory
from .datasets.split import SPLITS
from .examples import Examples
from .processes import Processes
from .schedule import size
from .trainer import architecture, seconds_a_step

_STEPS, _STEPS_FOR_MINUTES = 6, 20  # that are timed
_FORWARD = 1 / 3  # of a step is the forward pass
_HEAD_STEP = 0.004  # seconds
_MOST_EPOCHS = 10_000


class Costs:
    """Measured seconds a step, and what follows from them for runs of any length."""

    def __init__(self, examples: Examples, config: TrainingConfig, judged: int, processes: Processes, exact: bool) -> None:
        self.examples, self.config, self.judged, self.processes = examples, config, judged, processes
        self.by_size = seconds_a_step(examples, config, processes, _STEPS_FOR_MINUTES if exact else _STEPS)

    @property
    def images_per_second(self) -> float:
        return self.config.batch * self.processes.size / self._step(self.config.train_size)

    def seconds(self, epochs: int, images: int | None = None) -> float:
        """A run of ``epochs`` over ``images`` examples (by default those at hand), with its validation."""
        config = self.config.model_copy(update={"epochs": epochs})
        steps = (images or len(self.examples)) / (config.batch * self.processes.size)
        training = sum(steps * self._step(size(config, epoch)) for epoch in range(epochs))
        looks = (1 + epochs) * self.judged if images is None else 0
        shown = self._step(config.train_size) / (config.batch * self.processes.size) * _FORWARD
        validating = looks * shown * (config.image_size / config.train_size) ** 2
        head = config.head_epochs * (images or len(self.examples)) / config.batch * _HEAD_STEP
        frozen = (images or len(self.examples)) * config.views * shown if config.starts_with_head else 0
        return training + validating + head + frozen

    def epochs_in(self, seconds: float, all_images: int | None) -> int:
        """The most epochs that fit; at least one. ``all_images``: of the final run, where there is one."""
        return 1 + bisect_right(range(2, _MOST_EPOCHS), seconds, key=lambda epochs: self._with_final(epochs, all_images))

    def _with_final(self, epochs: int, all_images: int | None) -> float:
        return self.seconds(epochs) + (self.seconds(epochs, all_images) if all_images else 0)

    def _step(self, side: int) -> float:
        """Seconds at this size: measured, or taken to grow with the area from the nearest one that was."""
        nearest = min(self.by_size, key=lambda known: abs(known - side))
        return self.by_size[nearest] * (side / nearest) ** 2


def plan(
    name: str,
    counts: dict[str, dict[str, int]],
    examples: Examples,
    config: TrainingConfig,
    costs: Costs,
    final_images: int | None,
) -> dict[str, Any]:
    """What is told before the start. ``counts``: classes and images by split."""
    with torch.device("meta"):
        network = EmbeddingNetwork(architecture(config), pretrained=False)
    processes = costs.processes
    steps = -(-len(examples) // (config.batch * processes.size)) * config.epochs
    seconds = costs.seconds(config.epochs) + (costs.seconds(config.epochs, final_images) if final_images else 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found: dict[str, Any] = {"name": name, "classes": len(examples.classes), "images": len(examples)}
    for split in SPLITS[1:]:
        found |= {f"{split}_{what}": count for what, count in counts[split].items()}
    return found | {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "center_parameters": len(examples.classes) * config.centers * config.dim,
        "backbone": config.backbone,
        "dim": config.dim,
        "epochs": config.epochs,
        "steps": steps,
        "batch": config.batch,
        "processes": processes.size,
        "device": processes.device.type,
        "memory_gb": round(peak / 1e9, 2),
        "memory_available_gb": round(available_memory() / 1e9, 1),
        "pixels": "in a file" if hasattr(examples.pixels, "filename") else "in memory",
        "pixels_gb": round(examples.pixels.nbytes / 1e9, 2),
        "images_per_second": round(costs.images_per_second, 1),
        "minutes": round(seconds / 60, 1),
    }
