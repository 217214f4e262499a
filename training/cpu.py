"""What makes a training step quick on a processor: 1.8 times the images a second (docs/benchmarks.md)."""

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor, nn

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def depthwise_in_float32(network: nn.Module) -> None:
    """Take depthwise convolutions out of CPU autocast: their bf16 backward pass is 2 to 10 times slower than float32's."""

    def outside_autocast(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def convolve(features: Tensor) -> Tensor:
            if not torch.is_autocast_enabled("cpu"):
                return forward(features)
            with torch.autocast("cpu", enabled=False):
                return forward(features.float()).bfloat16()

        return convolve

    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = outside_autocast(module.forward)  # type: ignore[method-assign, assignment]


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one: returned and zeroed again each time, it costs a fifth of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
