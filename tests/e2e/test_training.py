"""`lookalike train` is killed, interrupted and asked to stop: what is there in the end is what an undisturbed run makes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SEED = int(os.environ.get("LOOKALIKE_SEED", time.time()))  # of the moments of death
STEPS = 4 * 3  # epochs of 60 pictures
# The command, but for three things: a checkpoint after every step, every step is told to whoever wants to disturb it, and no
# ONNX form, which takes longer than all the rest. DIE_WRITING: the checkpoint during which it kills itself, half written.
DRIVER = """
import os, signal, sys, time
import torch
import training.export, training.run
from lookalike.cli import main

training.export.export_onnx = lambda *_: None
training.run.KEEP_EVERY = -1.0
told, save, checkpoints = training.run.Phase.keep, torch.save, 0

def keep(phase, state, *, now):
    told(phase, state, now=now)
    if not now and phase.run.writes:
        print("step", state()["number"], flush=True)
        time.sleep(float(os.environ.get("PAUSE", 0)))

def half(state, file, **options):
    global checkpoints
    checkpoints += 1
    save(state, file, **options)
    if checkpoints == int(os.environ.get("DIE_WRITING", 0)):
        file.truncate(file.tell() // 2)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

training.run.Phase.keep, torch.save = keep, half
sys.argv[0] = "lookalike"
main()
"""
SETTINGS = {
    "backbone": "efficientnet_lite0", "image_size": 48, "train_size": 32, "first_size": 16, "dim": 16, "batch": 16,
    "epochs": 3, "head_epochs": 2, "views": 1, "ema": 0.9, "centers": 2, "center_start": "data", "balance": 0.5,
}  # fmt: skip


class Training:
    """`lookalike train` of the drawings, as a process of its own."""

    def __init__(self, drawings: Path, folder: Path, name: str = "shop") -> None:
        folder.mkdir(exist_ok=True)
        self.driver, self.to = folder / "driver.py", folder / name
        self.driver.write_text(DRIVER)
        preset = folder / "settings.json"
        preset.write_text(json.dumps(SETTINGS))
        self.arguments = ["train", "--data", str(drawings), "--to", str(self.to), "--preset", str(preset), "--json"]

    def start(self, *more: str, **env: str) -> subprocess.Popen:
        command = [sys.executable, str(self.driver), *self.arguments, *more]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=quiet(**env)
        )

    def disturbed(self, after: int, number: int, *more: str) -> tuple[int, str]:
        """The exit status, and what was said, of a run that gets a signal after so many steps of its own."""
        process = self.start(*more, PAUSE="0.3")
        steps = (line for line in process.stdout if line.startswith("step"))
        for _ in range(after):
            next(steps)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
        return process.returncode, said

    def finish(self, *more: str) -> dict:
        """What the bundle says of itself."""
        out, said = self.start(*more).communicate(timeout=300)
        assert "map@r" in out, said
        return json.loads((self.to / "bundle.json").read_text())

    @property
    def checkpoint(self) -> Path:
        return self.to.with_name("shop.run") / "train.checkpoint"


def quiet(**env: str) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "COLUMNS": "500", **env}


@pytest.fixture(scope="module")
def undisturbed(drawings: Path, tmp_path_factory) -> dict:
    return Training(drawings, tmp_path_factory.mktemp("undisturbed")).finish()


def test_killed_at_any_step_and_during_a_checkpoint(undisturbed: dict, drawings: Path, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    print(f"LOOKALIKE_SEED={SEED}")
    training = Training(drawings, tmp_path)
    assert training.disturbed(chance.randrange(1, 4), signal.SIGKILL)[0] == -signal.SIGKILL
    assert training.disturbed(chance.randrange(1, 4), signal.SIGKILL, "--resume")[0] == -signal.SIGKILL
    before = training.checkpoint.read_bytes()
    process = training.start("--resume", DIE_WRITING="1")
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert training.checkpoint.read_bytes() == before and training.checkpoint.with_name(".train.checkpoint.tmp").exists()
    assert training.finish("--resume")["fingerprint"] == undisturbed["fingerprint"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("shop")] == ["shop"]


def test_asked_to_stop_it_keeps_its_state_first(undisturbed: dict, drawings: Path, tmp_path: Path) -> None:
    training = Training(drawings, tmp_path)
    for number, more in ((signal.SIGINT, ()), (signal.SIGTERM, ("--resume",))):
        status, said = training.disturbed(2, number, *more)
        assert status == 1, said
        assert "Stopped after step" in said and "The same command with --resume goes on." in said
        assert "Traceback" not in said
    status, said = training.disturbed(0, signal.SIGCONT)
    assert status == 1 and "holds a training that was interrupted. Add --resume to go on" in said
    found = training.finish("--resume")
    assert found["fingerprint"] == undisturbed["fingerprint"]
    assert found["training"]["epoch"] == undisturbed["training"]["epoch"]


def test_two_processes_make_one_bundle(drawings: Path, tmp_path: Path) -> None:
    training = Training(drawings, tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(training.driver), *training.arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
        env=quiet(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [figures] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert 0 < figures["map@r"] <= 1
    told = [line for line in done.stdout.splitlines() if line.startswith("step")]
    assert len(told) == len(set(told)) > 0
    found = json.loads((training.to / "bundle.json").read_text())
    assert (found["training"]["processes"], found["training"]["images"]) == (2, 60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["driver.py", "settings.json", "shop"]
