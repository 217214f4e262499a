"""A run's folder: begins, goes on, is not mixed up with another, and tells where it stands."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from training import run as running
from training import watch
from training.checkpoint import CheckpointError
from training.run import Phase, Run, RunError, Stopped
from training.trainer import Step

ROOT = Path(__file__).parents[2]
ASKED = {"dim": 32, "minutes": None, "augmentation": {"zoom": [0.5, 1.1]}}
STEP = Step(step=2, steps=8, epoch=1, epochs=4, seconds=3.0, loss=1.25, images_per_second=50.0)
RECORD = {"epoch": 1, "epochs": 4, "step": 2, "steps": 8, "seconds": 3.0, "loss": 1.25, "validation": None, "best": False}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """One that has begun."""
    run = Run(tmp_path / "shop")
    run.begin(ASKED, resume=False)
    return run


def again(run: Run, resume: bool = True, **changes: Any) -> Run:
    found = Run(run.folder.with_name("shop"))
    found.begin(ASKED | changes, resume)
    return found


def state(number: int = 2) -> dict[str, Any]:
    return {"number": number, "history": [RECORD], "network": {"head": torch.ones(3)}}


# Beginning and going on


def test_it_lies_beside_the_bundle(run: Run, tmp_path: Path) -> None:
    assert run.folder == tmp_path / "shop.run"
    assert json.loads((run.folder / "run.json").read_text()) == ASKED
    assert run.checkpoint("train") is None


def test_without_a_checkpoint_it_begins_anew(run: Run) -> None:
    (run.folder / "pixels.npy").touch()
    again(run, resume=False, dim=64)
    assert [file.name for file in run.folder.iterdir()] == ["run.json"]
    with pytest.raises(RunError, match=r"nothing to resume: .*shop\.run holds no checkpoint\. Run without --resume"):
        again(run)


def test_nothing_to_resume_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing to resume"):
        Run(tmp_path / "shop").begin(ASKED, resume=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("phase", ["train", "final"])
def test_an_interrupted_one_is_not_overwritten(run: Run, phase: str) -> None:
    run.keep(phase, state())
    with pytest.raises(RunError, match=r"holds a training that was interrupted\. Add --resume to go on, or remove the folder"):
        again(run, resume=False)
    found = again(run).checkpoint(phase)
    assert found is not None and found["number"] == 2


def test_another_training_is_not_resumed(run: Run) -> None:
    run.keep("train", state())
    with pytest.raises(RunError) as caught:
        again(run, dim=64, minutes=3.0)
    assert str(caught.value) == (
        "This is not the training that was interrupted: dim was 32, now 64; minutes was None, now 3.0. "
        f"Remove {run.folder} to begin anew."
    )


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "shop.run"
    folder.mkdir()
    (folder / "thesis.txt").touch()
    for resume in (True, False):
        with pytest.raises(RunError, match="exists and is not of a training"):
            Run(tmp_path / "shop").begin(ASKED, resume)
    assert [file.name for file in folder.iterdir()] == ["thesis.txt"]


def test_a_damaged_description_is_a_sentence(run: Run) -> None:
    run.keep("train", state())
    (run.folder / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json is damaged\. Remove .*shop\.run to begin anew"):
        again(run)


def test_decisions_are_remembered(run: Run) -> None:
    assert run.decided("epochs") is None
    run.decide("epochs", 7)
    run.decide("singles", "leave")
    run.keep("train", state())
    found = again(run)
    assert (found.decided("epochs"), found.decided("singles"), found.decided("other")) == (7, "leave", None)


def test_in_the_end_nothing_is_left(run: Run, tmp_path: Path) -> None:
    run.keep("train", state())
    run.show("running")
    run.end()
    assert not list(tmp_path.iterdir())


def test_only_the_first_process_writes(run: Run, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in run.folder.iterdir()}
    other = Run(tmp_path / "shop", writes=False)
    other.begin(ASKED | {"dim": 3}, resume=False)
    other.decide("epochs", 3)
    other.keep("train", state())
    other.show("running")
    other.end()
    assert {file.name: file.read_bytes() for file in run.folder.iterdir()} == before


# A phase


def test_a_state_is_kept_when_it_must_and_from_time_to_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    phase, made = Phase(run, "train"), []

    def count() -> dict[str, Any]:
        made.append(1)
        return state(len(made))

    phase.keep(count, now=False)
    assert not made and phase.kept() is None
    phase.keep(count, now=True)
    monkeypatch.setattr(running, "KEEP_EVERY", -1.0)
    phase.keep(count, now=False)
    found = phase.kept()
    assert found is not None and found["number"] == 2 and run.history == [{"phase": "train", **RECORD}]


def test_epochs_are_told_and_written_down(run: Run) -> None:
    told: list[Any] = []
    Phase(run, "train", on_epoch=told.append).epoch(RECORD)
    Phase(run, "final", on_epoch=told.append).epoch(RECORD)
    expected = [{"phase": "train", **RECORD}, {"phase": "final", **RECORD}]
    assert told == [expected[:1], expected]
    assert [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()] == expected
    assert (run.folder / watch.FILE).read_text().startswith("<!doctype html>")


def test_steps_are_told_in_words_and_shown_from_time_to_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    phase = Phase(run, "train", on_step=lambda step, note: told.append((step, note)))
    phase.step(STEP)
    assert told == [(STEP, "epoch 1/4 · loss 1.250 · 50 images/s")]
    assert not (run.folder / watch.FILE).exists()
    monkeypatch.setattr(running, "SHOW_EVERY", -1.0)
    phase.step(STEP)
    assert "1.250" in (run.folder / watch.FILE).read_text()
    assert not (run.folder / "history.jsonl").exists()  # that is of whole epochs


def test_a_stopped_one_says_how_it_goes_on(run: Run) -> None:
    error = Phase(run, "train").stopped(7)
    assert isinstance(error, Stopped)
    assert str(error) == f"Stopped after step 7, and kept in {run.folder}. The same command with --resume goes on."
    assert "at step 7; the same command with <code>--resume</code> goes on" in (run.folder / watch.FILE).read_text()


def test_a_full_disk_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    said = r"shop\.run cannot be written \(No space left on device\)\. Make room or mend the folder\. "
    for then in ("Nothing was learnt yet", "The last checkpoint is whole: then go on with --resume"):
        with pytest.raises(CheckpointError, match=said + then):
            Phase(run, "train").epoch(RECORD)
        (run.folder / "train.checkpoint").touch()


# Being asked to stop


SIGNALLED = """
import signal
from training.run import asked_to_stop

for number in (signal.SIGINT, signal.SIGTERM):
    before = signal.getsignal(number)
    try:
        with asked_to_stop() as asked:
            assert not asked()
            signal.raise_signal(number)
            assert asked()
            signal.raise_signal(number)
        raise SystemExit("the second signal was ignored")
    except KeyboardInterrupt:
        assert signal.getsignal(number) == before
print("as it was")
"""


def test_the_first_signal_is_noted_and_the_second_interrupts() -> None:
    """In a process of its own, whose signals nobody else has touched."""
    done = subprocess.run([sys.executable, "-c", SIGNALLED], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("as it was\n", 0), done.stderr
