"""``lookalike train`` as it is, but that it tells of every step, keeps its state often, and leaves out the ONNX form and what
measures the finished bundle.

With LOOKALIKE_BENCH_HOLD=n it stays for ever in the n-th writing of a checkpoint, between the draft and its new name.
Run by the row ``kills``: python -m bench.training.driver train …
"""

import math
import os
import time
from types import SimpleNamespace

from lookalike import cli
from training import checkpoint, export, run, train
from training.trainer import Step

_KEEP_EVERY = 4  # steps
_hold = int(os.environ.get("LOOKALIKE_BENCH_HOLD", "0"))
_step, _sync = run.Phase.step, os.fsync
_written = 0


def step(self: run.Phase, told: Step) -> None:
    _step(self, told)
    run.KEEP_EVERY = math.inf if told.step % _KEEP_EVERY else 0.0  # seconds
    print("step", self.name, told.step, flush=True)


def fsync(file: int) -> None:
    """What a checkpoint does between writing its draft and renaming it."""
    global _written
    _sync(file)
    _written += 1
    if _written == _hold:
        print("holds", flush=True)
        time.sleep(3600)


if __name__ == "__main__":
    run.Phase.step = step  # type: ignore[method-assign, assignment]
    checkpoint.os = SimpleNamespace(fsync=fsync)  # type: ignore[assignment, attr-defined]
    export.export_onnx = lambda *_: None  # type: ignore[attr-defined]
    export.agreement = lambda *_: {}
    train._Making._reports = lambda *_: {"metrics.json": {}}  # type: ignore[method-assign]
    cli.main()
