"""Examples in, a trained network out.

A run is a function of (examples, settings, number of processes): every random number is made from the seed and a position,
so what a checkpoint holds, the state of network, centres, optimiser and position, is enough to go on as if nothing had
happened. First the head and the centres learn on the frozen backbone's features, then all learn.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from model import Failure
from model.bundle import Architecture
from model.network import EmbeddingNetwork
from model.network import architecture as architecture_of

from . import cpu
from .augment import draws
from .centers import distinct
from .config import TrainingConfig
from .examples import Examples
from .head import learn_on_features, seen_at_first, views
from .losses import Loss
from .method import SOFT_TRIPLE, Method
from .optimizer import optimizer_of, set_rate
from .processes import Processes, alone
from .sampler import batches
from .schedule import rate, size

_NAMED_FILES = 5
_BATCH = 128

Embed = Callable[[np.ndarray], np.ndarray]
Validate = Callable[[Embed], dict[str, float]]


class TrainingDiverged(Failure):
    """The loss is no longer a number; the message says when, at which pictures, and what to change."""


class TooLittleMemory(Failure):
    """The message says what to change."""


@dataclass(frozen=True)
class Step:
    """What is told after every step. ``loss`` is a running mean; ``seconds`` are those of the run so far."""

    step: int
    steps: int
    epoch: int
    epochs: int
    seconds: float
    loss: float
    images_per_second: float


class Listener:
    """Who hears of a run and keeps its state. This one does neither."""

    def kept(self) -> dict[str, Any] | None:
        """The state to go on from."""
        return None

    def keep(self, state: Callable[[], dict[str, Any]], *, now: bool) -> None:
        """Called after every step; ``now``: the state must be kept."""

    def looked(self, images: int) -> None:
        """The frozen backbone has looked at some more, before the first step."""

    def step(self, step: Step) -> None:
        """A step has been made."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch has ended; epoch 0 is the state before the whole network learns."""

    def stop(self) -> bool:
        """True to end after this step; its state is kept first."""
        return False

    def stopped(self, step: int) -> BaseException:
        """What is then raised."""
        return KeyboardInterrupt()


@dataclass(frozen=True)
class Trained:
    """``network`` and ``centers`` [C, K, D], unless the loss has none, are on the CPU, and those after ``epoch``; ``record``
    tells of the run, for the bundle."""

    network: EmbeddingNetwork
    centers: Tensor | None
    epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)


def architecture(config: TrainingConfig) -> Architecture:
    return architecture_of(config.backbone, dim=config.dim, pooling=config.pooling, image_size=config.image_size)


def fit(
    examples: Examples,
    config: TrainingConfig,
    *,
    method: Method = SOFT_TRIPLE,
    start: EmbeddingNetwork | None = None,
    validate: Validate | None = None,
    until: int | None = None,
    processes: Processes | None = None,
    listener: Listener | None = None,
) -> Trained:
    """Train by ``method``, from ``start`` or from the pretrained backbone.

    ``validate`` judges the network after each epoch by ``map@r``, and that of the best one is returned; without it, that of
    the last. ``until``: end after this epoch of a schedule for all. Raises ``TrainingDiverged``, ``TooLittleMemory``.
    """
    listener = listener or Listener()
    processes = processes or alone()
    with _enough_memory(config):
        training = Training(examples, config, processes, start, method)
        if state := listener.kept():
            training.load_state(state)
        else:
            training.warm_up(listener.looked)
            training.judge(validate, listener)
        training.run(config.epochs if until is None else until, validate, listener)
    return training.result()


class Objective(nn.Module):
    """Images [B, 3, S, S] and classes [B] in, the loss out. One module, so that processes average all gradients of it."""

    def __init__(self, network: EmbeddingNetwork, loss_of: Loss, processes: Processes, precision: str) -> None:
        super().__init__()
        self.network, self.loss_of = network, loss_of
        self._autocast = processes.autocast(precision)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        with self._autocast:
            embeddings = self.network.embed(images)
        return self.loss_of(embeddings, targets)


class Training:
    """The state of one run, moved on step by step."""

    def __init__(
        self,
        examples: Examples,
        config: TrainingConfig,
        processes: Processes,
        start: EmbeddingNetwork | None = None,
        method: Method = SOFT_TRIPLE,
    ) -> None:
        self.examples, self.config, self.processes, self.method = examples, config, processes, method
        torch.manual_seed(config.seed % 2**63)
        device = processes.device
        network = start or EmbeddingNetwork(architecture(config), pretrained=True, weights=config.weights)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.loss_of = method.loss(len(examples.classes), config).to(device)
        self.average = AveragedModel(self.network, multi_avg_fn=running_mean(config.ema)) if config.ema else None
        if device.type == "cpu":
            cpu.keep_freed_memory()
        if device.type == "cpu" and config.precision == "bf16":
            cpu.depthwise_in_float32(self.network)
        parts: list[tuple[nn.Module, float]] = [
            (self.network.backbone, config.learning_rate),
            (self.network.head, config.head_learning_rate),
        ]
        self.optimizer = optimizer_of(parts, self.loss_of, config)
        self.objective: nn.Module = Objective(self.network, self.loss_of, processes, config.precision)
        if processes.size > 1:
            self.objective = DistributedDataParallel(self.objective, broadcast_buffers=False)
        self.steps_an_epoch = len(self._batches(0))
        self.number, self.seconds, self.loss, self.pace = 0, 0.0, math.nan, math.nan  # pace: seconds a step
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None  # of the network and of the centres

    def warm_up(self, advance: Callable[[int], None]) -> None:
        """The head and the centres alone, on features of the frozen backbone."""
        if not self.config.starts_with_head:
            return
        self.network.eval()
        examples, batch = seen_at_first(self.examples, self.config.seed), self.config.batch * self.processes.size
        features = views(self.network, examples, self.config, self.processes, advance)
        learn_on_features(features, examples.labels, self.network.head, self.loss_of, self.config, batch, self.method.order)

    def run(self, until: int, validate: Validate | None, listener: Listener) -> None:
        """Up to the end of epoch ``until``."""
        self.network.train()
        freeze_batch_norm(self.network)
        while self.number < until * self.steps_an_epoch:
            epoch, done = divmod(self.number, self.steps_an_epoch)
            changes = draws(self.config.seed, epoch, len(self.examples))
            for rows in self._batches(epoch)[done:]:
                self.step(rows, changes, epoch)
                listener.step(self._told(epoch, len(rows)))
                if self.number % self.steps_an_epoch == 0:
                    self.judge(validate, listener)
                stop = self.processes.any(listener.stop())
                listener.keep(self.state, now=stop or self.number == until * self.steps_an_epoch)
                if stop:
                    raise listener.stopped(self.number)

    def step(self, rows: np.ndarray, changes: Tensor, epoch: int) -> None:
        """One step on the examples ``rows``, of which this process takes its share."""
        started = time.monotonic()
        config, processes, size_ = self.config, self.processes, self.processes.size
        # A network's own random numbers (dropout) hang on the position too, so no generator's state has to be kept.
        torch.manual_seed(((config.seed * 2**32 + self.number) * size_ + processes.rank) % 2**63)
        mine = rows[processes.rank :: size_]
        images = self.examples.batch(mine, changes, config.augmentation, size(config, epoch), processes.device)
        targets = torch.from_numpy(self.examples.labels[mine]).to(processes.device)
        set_rate(self.optimizer, rate(config, self.number, self.steps_an_epoch))
        # Processes average their gradients: each counts by its share of the images.
        loss = self.objective(images, targets) * (len(mine) * size_ / len(rows))
        value = processes.sum(loss.detach().clone()).item() / size_
        if not math.isfinite(value):
            raise self._diverged(value, rows, epoch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.number += 1
        self.loss = value if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * value
        taken = time.monotonic() - started
        self.seconds += taken
        self.pace = taken if math.isnan(self.pace) else 0.95 * self.pace + 0.05 * taken

    def judge(self, validate: Validate | None, listener: Listener) -> None:
        """Measure the network as it is now, and keep it where it is the best so far."""
        if self.number == 0 and validate is None:
            return
        figures = None if validate is None else validate(self.embed)
        best = figures is not None and figures["map@r"] > max((r["validation"]["map@r"] for r in self.history), default=-1.0)
        if best:
            self.best = self._as_it_is()
        self.history.append(self._record(figures, best))
        listener.epoch(self.history[-1])

    @property
    def judged(self) -> nn.Module:
        """The network that is measured and kept: the running mean, where there is one."""
        return self.average.module if self.average is not None and self.average.n_averaged else self.network

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [N, S, S, 3] → float32 [N, D], each process its share."""
        network, was_training = self.judged, self.network.training
        network.eval()
        mine, parts = pixels[self.processes.part(len(pixels))], [torch.empty(0, self.config.dim)]
        for start in range(0, len(mine), _BATCH):
            images = torch.from_numpy(mine[start : start + _BATCH]).to(self.processes.device).permute(0, 3, 1, 2)
            with torch.inference_mode(), self.processes.autocast(self.config.precision):
                parts.append(network.embed(images.float() / 255).cpu())  # type: ignore[operator]
        if was_training:
            self.network.train()
            freeze_batch_norm(self.network)
        return self.processes.together(torch.cat(parts)).numpy()

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "network": self.network.state_dict(),
            "centers": self.loss_of.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "best": self.best,
            "number": self.number,
            "seconds": self.seconds,
            "loss": self.loss,
            "history": self.history,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.loss_of.load_state_dict(state["centers"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.best, self.history = state["best"], list(state["history"])
        self.number, self.seconds, self.loss = state["number"], state["seconds"], state["loss"]

    def result(self) -> Trained:
        epoch = self.number // self.steps_an_epoch
        if self.best is not None:
            epoch = next(record["epoch"] for record in reversed(self.history) if record["best"])
        kept = self.best or self._as_it_is()
        trained = EmbeddingNetwork(self.network.architecture, pretrained=False)
        trained.load_state_dict(kept["network"])
        record: dict[str, Any] = {"epoch": epoch, "seconds": round(self.seconds, 1), "processes": self.processes.size}
        if kept["centers"] is not None:
            record["centers"] = _counted(kept["centers"])
        return Trained(trained.eval(), kept["centers"], epoch, self.history, record)

    def _as_it_is(self) -> dict[str, Any]:
        """A copy of what is judged, on the CPU."""
        centers = self.loss_of.centers
        network = {name: tensor.detach().cpu().clone() for name, tensor in self.judged.state_dict().items()}
        return {"network": network, "centers": None if centers is None else centers.detach().cpu().clone()}

    def _batches(self, epoch: int) -> list[np.ndarray]:
        rows = self.method.order(self.examples.labels, epoch, self.config)
        return batches(rows, self.config.batch * self.processes.size, at_least=self.processes.size)

    def _told(self, epoch: int, images: int) -> Step:
        epochs = self.config.epochs
        steps, speed = epochs * self.steps_an_epoch, images / self.pace
        return Step(self.number, steps, epoch + 1, epochs, self.seconds, self.loss, round(speed, 1))

    def _record(self, figures: dict[str, float] | None, best: bool) -> dict[str, Any]:
        epoch = self.number // self.steps_an_epoch
        taken = self.seconds - (self.history[-1]["seconds"] if self.history else 0.0)
        images = len(self.examples) if epoch else 0
        return {
            "epoch": epoch,
            "epochs": self.config.epochs,
            "step": self.number,
            "steps": self.config.epochs * self.steps_an_epoch,
            "seconds": self.seconds,
            "loss": self.loss if epoch else None,
            "learning_rate": self.optimizer.param_groups[0]["lr"] if epoch else None,
            "size": size(self.config, max(0, epoch - 1)),
            "images_per_second": round(images / taken, 1) if images and taken > 0 else None,
            "validation": figures,
            "best": best,
        }

    def _diverged(self, value: float, rows: np.ndarray, epoch: int) -> TrainingDiverged:
        files = [self.examples.files[row] for row in rows[:_NAMED_FILES]]
        more = f" and {len(rows) - len(files)} more" if len(rows) > len(files) else ""
        return TrainingDiverged(
            f"The loss became {value} at step {self.number + 1} (epoch {epoch + 1}), on the pictures {', '.join(files)}{more}. "
            f"Train again with a tenth of the learning rate: --set learning_rate={self.config.learning_rate / 10:g}. "
            "If it happens at the same pictures again, look at them."
        )


def _counted(centers: Tensor) -> dict[str, Any]:
    """How many of a class's centres [C, K, D] differ: on average, and the number of classes with one, two, … of them."""
    counts = distinct(centers)
    found = torch.bincount(counts, minlength=centers.shape[1] + 1)[1:].tolist()
    return {"distinct_mean": round(counts.double().mean().item(), 3), "distinct": found}


def freeze_batch_norm(network: nn.Module) -> None:
    """Keep the pretrained running statistics: small batches of few classes would only blur them."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def running_mean(decay: float) -> Callable[[Any, Any, Any], None]:
    """The exponential mean of the weights, quicker at first so that the start is soon forgotten."""

    def update(means: list[Tensor], weights: list[Tensor], seen: Tensor | int) -> None:
        steps = int(seen)
        torch._foreach_lerp_(means, weights, 1 - min(decay, (1 + steps) / (10 + steps)))

    return update


def seconds_a_step(examples: Examples, config: TrainingConfig, processes: Processes, steps: int) -> dict[int, float]:
    """By size of the pictures: the median of ``steps`` real steps in all, with a network that is thrown away."""
    training = Training(examples, config, processes)
    training.network.train()
    freeze_batch_norm(training.network)
    epochs = {size(config, epoch): epoch for epoch in range(max(1, config.epochs))}
    found = {}
    changes, rows = draws(config.seed, 0, len(examples)), training._batches(0)[0]
    for side, epoch in epochs.items():
        times = []
        for _ in range(max(3, steps // len(epochs))):
            before = training.seconds
            training.step(rows, changes, epoch)
            times.append(training.seconds - before)
        found[side] = float(np.median(times[1:]))  # the first one is slower
    return found


@contextmanager
def _enough_memory(config: TrainingConfig) -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise TooLittleMemory(
            f"The memory is not enough for this training. Give it smaller batches (--set batch={max(1, config.batch // 2)}) "
            "or smaller pictures (--set train_size=…)."
        ) from error
