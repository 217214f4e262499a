"""Modules and the settings in, an optimiser out whose learning rates follow a schedule."""

from torch import nn, optim

from .config import TrainingConfig


def optimizer_of(parts: list[tuple[nn.Module, float]], loss_of: nn.Module, config: TrainingConfig) -> optim.Optimizer:
    """``parts``: modules and their full learning rates. The centres have their own rate, epsilon and decay."""
    groups = [{"params": list(part.parameters()), "lr": rate, "eps": config.epsilon} for part, rate in parts]
    centers = {
        "params": list(loss_of.parameters()),
        "lr": config.center_learning_rate,
        "eps": config.center_epsilon,
        "weight_decay": config.center_weight_decay,
    }
    kind = optim.AdamW if config.optimizer == "adamw" else optim.Adam
    optimizer = kind([*groups, *([centers] if centers["params"] else [])], weight_decay=config.weight_decay)
    for group in optimizer.param_groups:
        group["full_lr"] = group["lr"]
    return optimizer


def set_rate(optimizer: optim.Optimizer, share: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = share * group["full_lr"]
