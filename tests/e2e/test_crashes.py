"""A slice of the campaign of crashes (docs/durability.md): the whole of it is `make prove-index`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LAST_CUTS = """
import sys
from pathlib import Path
from bench.crashes.campaign import LOSES, Campaign
from bench.crashes.scenarios import ALL
from index import blobs

{spoiled}
scenario = next(scenario for scenario in ALL if scenario.name == "upload")
campaign = Campaign(scenario, Path(sys.argv[1]))
for _, wrong in campaign.cut(campaign.cuts(0)[-8:], LOSES):
    print(wrong)
"""


@pytest.fixture(autouse=True)
def strace():
    if shutil.which("strace") is None:
        pytest.skip("needs strace (Debian: apt install strace)")


def python(*arguments: str) -> subprocess.CompletedProcess:
    """A process of its own, for it forks: this one has threads."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def test_a_slice_of_all_scenarios_and_some_kills(tmp_path):
    figures = tmp_path / "figures.json"
    done = python("-m", "bench.crashes", "--every", "60", "--kills", "3", "--json", str(figures))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    jobs, changes = {"first", "segment", "merge", "bundle", "onward"}, {"upload", "service", "edits", "load"}
    upkeep = {"rollback", "gc", "backup", "restore", "backup-in-steps", "restore-in-steps"}
    assert set(found) >= jobs | changes | upkeep
    assert all(tried["crashes"] > 0 and tried["lived"] == 0 for tried in found.values())
    assert all(tried["cuts"] > 0 for name, tried in found.items() if name != "load")


@pytest.mark.parametrize("spoiled", ["", "blobs.sync = lambda path: None"])
def test_a_store_of_pictures_that_does_not_sync_is_found_out(spoiled, tmp_path):
    done = python("-c", LAST_CUTS.format(spoiled=spoiled), str(tmp_path))
    assert done.returncode == 0, done.stderr
    wrong = set(done.stdout.splitlines())
    assert ("the picture of first is lost" in wrong) == bool(spoiled)
    assert spoiled or wrong == {"None"}


def test_one_crash_is_tried_again():
    done = python("-m", "bench.crashes", "upload", "--at", "rename:1")
    assert (done.returncode, done.stdout) == (0, "nothing is wrong\n"), done.stderr
    done = python("-m", "bench.crashes", "upload", "--at", "rename:1000")
    assert (done.returncode, done.stdout) == (1, "it came to its end before that call\n"), done.stderr
