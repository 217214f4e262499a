"""Labelled pixels in, a trained network out."""

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model import Failure
from model.bundle import Architecture
from model.network import EmbeddingNetwork

from .augment import augment, draws
from .config import TrainingConfig
from .losses import SoftTriple

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


@dataclass(frozen=True)
class Step:
    """What is told after every step; ``loss`` is a running mean."""

    number: int
    of: int
    images: int
    loss: float


class TrainingDiverged(Failure):
    """The loss is no longer a number; the message says when and what to change."""


def architecture(config: TrainingConfig) -> Architecture:
    return Architecture(backbone=config.backbone, dim=config.dim)


def fit(pixels: np.ndarray, labels: Sequence[str], config: TrainingConfig, report: Callable[[Step], None]) -> EmbeddingNetwork:
    """Train on uint8 ``pixels`` [N, S, S, 3] with SoftTriple. Raises ``TrainingDiverged``."""
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names, numbers = np.unique(np.asarray(labels), return_inverse=True)
    images, targets = torch.from_numpy(pixels), torch.from_numpy(numbers)
    network = EmbeddingNetwork(architecture(config), pretrained=True).to(device).to(memory_format=torch.channels_last)
    loss_of = SoftTriple(len(names), config.dim, config.centers, config.scale, config.gamma, config.tau, config.margin)
    loss_of.to(device)
    optimizer = _optimizer(network, loss_of, config)
    steps = config.epochs * math.ceil(len(images) / config.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _one_cycle(step / steps, config.warm_up))
    network.train()
    freeze_batch_norm(network)

    number, mean_loss = 0, math.nan
    with _quick_on_cpu(network) if device.type == "cpu" else nullcontext():
        for epoch in range(config.epochs):
            changes = draws(config.seed, epoch, len(images))
            for rows in _shuffled(config.seed, epoch, len(images)).split(config.batch):
                batch = augment(images[rows].to(device), changes[rows].to(device), config.augmentation, config.train_size)
                loss = _loss(network, loss_of, batch.contiguous(memory_format=torch.channels_last), targets[rows].to(device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                number += 1
                mean_loss = _running_mean(mean_loss, loss.item(), number, epoch)
                report(Step(number, steps, len(rows), mean_loss))
    trained = EmbeddingNetwork(architecture(config), pretrained=False)
    trained.load_state_dict(network.state_dict())
    return trained.eval()


def freeze_batch_norm(network: nn.Module) -> None:
    """Keep ImageNet's running statistics: small batches of few classes would only blur them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@contextmanager
def _quick_on_cpu(network: nn.Module) -> Iterator[None]:
    depthwise_in_float32(network)
    keep_freed_memory()
    # Gradients fade into denormal numbers, and a step that meets them takes twice as long.
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def depthwise_in_float32(network: nn.Module) -> None:
    """Take depthwise convolutions out of CPU autocast: their bf16 backward pass is 2 to 10 times slower than float32's."""

    def outside_autocast(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def convolve(features: Tensor) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                return forward(features.float()).bfloat16()

        return convolve

    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels:
            module.forward = outside_autocast(module.forward)  # type: ignore[method-assign, assignment]


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one: returned and zeroed again each time, it costs a fifth of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _loss(network: EmbeddingNetwork, loss_of: SoftTriple, images: Tensor, targets: Tensor) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16):
        embeddings = network.embed(images)
    return loss_of(embeddings, targets)


def _optimizer(network: EmbeddingNetwork, loss_of: SoftTriple, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [
            {"params": network.backbone.parameters(), "lr": config.learning_rate},
            {"params": network.head.parameters(), "lr": config.head_learning_rate},
            # The authors' eps: with Adam's usual 1e-8 the regulariser's tiny gradients act like a switch.
            {"params": loss_of.parameters(), "lr": config.center_learning_rate, "eps": 0.01, "weight_decay": 0.0},
        ],
        weight_decay=config.weight_decay,
    )


def _one_cycle(progress: float, warm_up: float) -> float:
    """Share of the full learning rate: a linear rise, then a cosine to zero."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def _shuffled(seed: int, epoch: int, count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(count))


def _running_mean(mean: float, loss: float, number: int, epoch: int) -> float:
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"The loss became {loss} at step {number} (epoch {epoch + 1}). Train again with a tenth of the learning rate."
        )
    return loss if math.isnan(mean) else 0.95 * mean + 0.05 * loss
