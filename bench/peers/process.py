"""A contender, its settings and its minutes in; what it is worth and what it took out. Every run is a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.training.figures import figures, unit
from model import Failure

from .contenders import Contender, Settings
from .pictures import BUILD, columns

_LAST = 20  # lines of its output that are told of a script that failed


class PeerError(Failure):
    """A contender cannot be installed or did not finish; the message has its last words."""


def run(
    contender: Contender, data: Path, learn: str, embed: str, minutes: float, seed: int, settings: Settings
) -> dict[str, Any]:
    """``learn``: comma-separated splits; ``embed``: the split that is measured. Vectors are compared by their angle, for all
    alike. ``gigabytes``: the most that the largest of its processes had. Raises ``PeerError``."""
    to, log = BUILD / f"{contender.name}.npz", BUILD / f"{contender.name}.log"
    to.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"bench.peers.{contender.module}", "--data", str(data), "--learn", learn]
    command += ["--embed", embed, "--minutes", str(minutes), "--seed", str(seed), "--to", str(to)]
    command += [f"{name}={value}" for name, value in settings.items()]
    started = time.monotonic()
    status, kilobytes = _waited(command, _environment(contender), log)
    seconds = time.monotonic() - started
    if status or not to.exists():
        words = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST:])
        raise PeerError(f"{contender.name} ended with status {status}. Its last words, of {log}:\n{words}")
    with np.load(to) as found:
        vectors, learnt, images = found["vectors"], float(found["learnt_seconds"]), int(found["learnt_images"])
    table = columns(data, embed)
    took = {"learnt_minutes": round(learnt / 60, 2), "minutes": round(seconds / 60, 2), "images": images}
    measured = figures(unit(vectors), table, "family" if "family" in table else None)
    return measured | took | {"gigabytes": round(kilobytes / 1e6, 2), "lines": contender.lines}


def _waited(command: list[str], environment: dict[str, str], log: Path) -> tuple[int, float]:
    """Exit status, and the most memory in kilobytes."""
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss / (1000 if sys.platform == "darwin" else 1000 / 1024)


def _environment(contender: Contender) -> dict[str, str]:
    found = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}  # it would ask the network for its newest version
    if contender.requirements is None:
        return found
    places = [str(_installed(contender.name, contender.requirements)), os.environ.get("PYTHONPATH", "")]
    return found | {"PYTHONPATH": os.pathsep.join(filter(None, places))}


def _installed(name: str, requirements: Path) -> Path:
    """A folder with these packages and no others: what they share with Lookalike, like torch, is Lookalike's."""
    to = BUILD / "packages" / name
    done = to / "installed.txt"
    if done.exists() and done.read_text() == requirements.read_text():
        return to
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps", "--upgrade"]
    if subprocess.run([*pip, "--target", str(to), "-r", str(requirements)]).returncode:
        raise PeerError(f"{name} could not be installed from {requirements}. Bring this machine to PyPI, or leave {name} out.")
    done.write_text(requirements.read_text())
    return to
