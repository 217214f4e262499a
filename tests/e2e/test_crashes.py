"""A slice of the campaign of crashes (docs/durability.md): the whole of it is `make prove-index`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def crashes(*arguments: str, preload: str = "") -> subprocess.CompletedProcess:
    """Processes are forked: not from this one, which has threads."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace (Debian: apt install strace)")
    start = f"{preload}\nimport sys\nfrom bench.crashes.__main__ import main\nsys.exit(main())"
    command = [sys.executable, "-c", start, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def test_a_slice_of_all_scenarios_and_some_kills(tmp_path):
    done = crashes("--every", "60", "--kills", "3", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) >= {"first", "segment", "merge", "bundle", "upload", "service", "load"}
    for name, tried in figures.items():
        assert tried["crashes"] > 0
        assert name == "load" or (tried["cuts"] > 0 and tried["lived"] == 0)


def test_what_is_not_synced_is_missed():
    """Where the store of pictures does not sync, the campaign says so, and how to see it again."""
    done = crashes("upload", "--every", "5", preload="from index import blobs; blobs.sync = lambda path: None")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the picture of first is lost" in done.stdout
    assert "python -m bench.crashes upload --seed 0 --cut " in done.stdout


def test_one_crash_is_tried_again():
    done = crashes("upload", "--at", "rename:1")
    assert (done.returncode, done.stdout) == (0, "nothing is wrong\n"), done.stderr
    done = crashes("upload", "--at", "rename:1000")
    assert (done.returncode, done.stdout) == (1, "it came to its end before that call\n"), done.stderr
