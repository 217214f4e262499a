"""Two processes that train together learn what one learns from batches of twice the size."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.config import TrainingConfig
from training.examples import Examples, of
from training.processes import Processes, alone, joined
from training.trainer import Embed, Listener, Step, fit

STEPS = 20
CONFIG = TrainingConfig(
    backbone="efficientnet_lite0", image_size=32, train_size=32, first_size=None, dim=8, centers=2, batch=8, epochs=7,
    center_start="data", head_start="random", head_epochs=0, views=1, precision="f32", learning_rate=1e-4,
    balance=0.5, clip=1.0,
)  # fmt: skip
DRIVER = """
import sys, torch
sys.path[:0] = sys.argv[1:3]
from test_processes import learnt
from training.processes import joined
with joined() as processes:
    torch.save(learnt(processes), f"{sys.argv[3]}/{processes.rank}.pt")
"""


def examples() -> Examples:
    pixels = np.random.default_rng(0).integers(0, 256, (45, 4, 4, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    return of(pixels, [str(row % 9) for row in range(45)])


def learnt(processes: Processes) -> dict[str, Any]:
    """What is learnt in ``STEPS`` steps: losses, weights, centres, vectors. 45 images leave a last batch of 13."""
    config, known = CONFIG.model_copy(update={"batch": 16 // processes.size}), examples()
    found: dict[str, Any] = {"losses": []}

    class Heard(Listener):
        def keep(self, state: Callable[[], dict[str, Any]], *, now: bool) -> None:
            if now:
                found.update(centers=state()["centers"], network=state()["network"])

        def step(self, step: Step) -> None:
            found["losses"].append(step.loss)

        def stop(self) -> bool:  # only one of them is asked, and both stop
            return processes.first and len(found["losses"]) == STEPS

    def validate(embed: Embed) -> dict[str, float]:
        found["vectors"] = torch.from_numpy(embed(known.pixels[:7]))
        return {"map@r": 0.0, "recall@1": 0.0}

    with pytest.raises(KeyboardInterrupt):
        fit(known, config, validate=validate, processes=processes, listener=Heard())
    return found


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(driver)]
    done = subprocess.run(
        [*command, str(root), str(Path(__file__).parent), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    expected = learnt(alone())
    assert len(first["losses"]) == STEPS and first["losses"] == second["losses"]
    assert torch.equal(first["vectors"], second["vectors"])
    torch.testing.assert_close(torch.tensor(first["losses"]), torch.tensor(expected["losses"]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first["centers"]["weight"], expected["centers"]["weight"], atol=1e-3, rtol=0)
    for part in ("network", "centers"):
        for name, tensor in first[part].items():
            assert torch.equal(tensor, second[part][name]), name
    torch.testing.assert_close(first["vectors"], expected["vectors"], atol=5e-3, rtol=0)


def test_shares_are_all_of_it() -> None:
    for size in (1, 2, 3, 7):
        parts = [list(range(10))[Processes(rank, size, torch.device("cpu")).part(10)] for rank in range(size)]
        assert [row for part in parts for row in part] == list(range(10)) and max(map(len, parts)) - min(map(len, parts)) <= 1


def test_alone_everything_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as processes:
        rows = torch.arange(3)
        assert processes.first and processes.size == 1
        assert processes.together(rows) is rows and processes.sum(rows) is rows
        assert processes.agreed("mine") == "mine" and processes.any(True) and not processes.any(False)
