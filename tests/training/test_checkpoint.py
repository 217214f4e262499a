"""A checkpoint is the whole state or the one before it, whatever happens while it is written."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from training import checkpoint
from training.checkpoint import CheckpointError

STATE = {"network": {"head": torch.arange(6.0)}, "number": 3, "history": [{"loss": 0.5, "validation": None}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.checkpoint"


def number(path: Path) -> int:
    state = checkpoint.read(path)
    assert state is not None
    return state["number"]


def test_what_is_written_is_read(path: Path) -> None:
    checkpoint.write(path, STATE)
    found = checkpoint.read(path)
    assert found is not None
    assert torch.equal(found.pop("network")["head"], STATE["network"]["head"])
    assert found == {"number": 3, "history": STATE["history"]}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_there_is_none_yet(path: Path) -> None:
    assert checkpoint.read(path) is None


def test_the_new_one_takes_the_place_of_the_old(path: Path) -> None:
    for each in (1, 2):
        checkpoint.write(path, STATE | {"number": each})
    assert number(path) == 2


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize("before", [True, False])
def test_a_failure_leaves_the_one_before(call: str, before: bool, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if before:
        checkpoint.write(path, STATE)
    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, full)
        with pytest.raises(CheckpointError) as caught:
            checkpoint.write(path, STATE | {"number": 4})
    rest = "the one before it is whole" if before else "there is none before it"
    assert str(caught.value) == (
        f"The checkpoint {path} could not be written (No space left on device); {rest}. Make room or mend the folder, then go "
        "on with --resume."
    )
    assert [file.name for file in path.parent.iterdir()] == ([path.name] if before else [])
    assert not before or number(path) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full_is_a_sentence(small_disk: Path) -> None:
    path = small_disk / "train.checkpoint"
    checkpoint.write(path, STATE)
    with pytest.raises(CheckpointError, match=r"could not be written \(.+\); the one before it is whole\. Make room"):
        checkpoint.write(path, {"network": {"head": torch.zeros(2_000_000)}, "number": 4})
    assert number(path) == 3
    assert [file.name for file in small_disk.iterdir()] == [path.name]
    checkpoint.write(path, STATE | {"number": 5})
    assert number(path) == 5


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-40], lambda whole: whole[:100], lambda _: b"", lambda _: b"no archive"]
)
def test_a_damaged_one_is_a_sentence(damage: Any, path: Path) -> None:
    checkpoint.write(path, STATE)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"is damaged \(.+\)\. Remove .* to begin anew\."):
        checkpoint.read(path)


def test_code_in_a_checkpoint_is_not_run(path: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    torch.save(Trap(), path)
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.read(path)
    assert not (tmp_path / "sprung").exists()
