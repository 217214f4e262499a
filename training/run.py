"""A run's folder, ``TO.run`` beside the bundle it will make: all that is needed to go on after a crash, and to watch.

``run.json`` (what was asked), ``train.checkpoint`` and ``final.checkpoint``, ``history.jsonl`` (a line an epoch),
``progress.html``, ``pixels.npy`` where memory is short, ``measured/`` (the bundle of the run that was measured, before the
final one on all classes). Only the first of several processes writes.
"""

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from model import Failure

from . import checkpoint, watch
from .checkpoint import CheckpointError
from .trainer import Listener, Step

KEEP_EVERY, SHOW_EVERY = 60.0, 5.0  # seconds between checkpoints, and pages
PHASES = ("train", "final")


class RunError(Failure):
    """The folder of the run cannot be used as asked; the message says what to do."""


class Stopped(Failure):
    """Somebody asked the training to stop, and its state was kept."""


class Run:
    def __init__(self, to: Path, writes: bool = True) -> None:
        self.folder = to.with_name(f"{to.name}.run")
        self.writes = writes
        self.plan: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []  # a record an epoch, of both phases

    @property
    def measured(self) -> Path:
        """Where the bundle of the measured run waits for the final one."""
        return self.folder / "measured"

    def begin(self, asked: dict[str, Any], resume: bool) -> None:
        """A new run, or the one that is there. Raises ``RunError`` where that is not what is there."""
        known, started = self._asked(), any(self._checkpoint(phase).exists() for phase in PHASES)
        if known is None and self.folder.exists() and any(self.folder.iterdir()):
            raise RunError(f"{self.folder} exists and is not of a training. Choose another place for the bundle.")
        if resume:
            if known is None or not started:
                raise RunError(f"There is nothing to resume: {self.folder} holds no checkpoint. Run without --resume.")
            if differing := [name for name in asked if known.get(name) != asked[name]]:
                told = "; ".join(f"{name} was {known.get(name)!r}, now {asked[name]!r}" for name in differing)
                raise RunError(f"This is not the training that was interrupted: {told}. Remove {self.folder} to begin anew.")
        elif started:
            told = "Add --resume to go on, or remove the folder to begin anew."
            raise RunError(f"{self.folder} holds a training that was interrupted. {told}")
        elif self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)
            with self._writing():
                self.folder.mkdir(parents=True)
                _write(self.folder / "run.json", json.dumps(asked, indent=2) + "\n")

    def decided(self, name: str) -> Any:
        """What was decided in this run before, like its number of epochs; None where it was not."""
        return (self._asked() or {}).get("decisions", {}).get(name)

    def decide(self, name: str, value: Any) -> None:
        """Write it down, for whoever resumes this run."""
        if self.writes:
            known = self._asked() or {}
            decisions = known.get("decisions", {}) | {name: value}
            with self._writing():
                _write(self.folder / "run.json", json.dumps(known | {"decisions": decisions}, indent=2) + "\n")

    def end(self) -> None:
        """The bundle is there; the run's folder is not needed any more."""
        if self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def show(self, status: str, now: dict[str, Any] | None = None) -> None:
        """Write history and page anew."""
        if not self.writes:
            return
        with self._writing():
            if now is None:
                _write(self.folder / "history.jsonl", "".join(json.dumps(record) + "\n" for record in self.history))
            watch.write(self.folder, self.plan, self.history, status, now)

    def checkpoint(self, phase: str) -> dict[str, Any] | None:
        return checkpoint.read(self._checkpoint(phase))

    def keep(self, phase: str, state: dict[str, Any]) -> None:
        if self.writes:
            checkpoint.write(self._checkpoint(phase), state)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = any(self._checkpoint(phase).exists() for phase in PHASES)
            then = "The last checkpoint is whole: then go on with --resume." if kept else "Nothing was learnt yet."
            told = f"{self.folder} cannot be written ({error.strerror}). Make room or mend the folder. {then}"
            raise CheckpointError(told) from error

    def _checkpoint(self, phase: str) -> Path:
        return self.folder / f"{phase}.checkpoint"

    def _asked(self) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / "run.json").read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunError(f"{self.folder / 'run.json'} is damaged. Remove {self.folder} to begin anew.") from error


@dataclass
class Phase(Listener):
    """One fit of a run: keeps its state and its page, and tells ``on_step`` in words and ``on_epoch`` in records."""

    run: Run
    name: str
    stops: Callable[[], bool] = lambda: False
    on_look: Callable[[int], None] = lambda _: None
    on_step: Callable[[Step, str], None] = lambda *_: None
    on_epoch: Callable[[list[dict[str, Any]]], None] = lambda _: None
    kept_at: float = field(default_factory=time.monotonic)
    shown_at: float = field(default_factory=time.monotonic)

    def kept(self) -> dict[str, Any] | None:
        state = self.run.checkpoint(self.name)
        others = [record for record in self.run.history if record["phase"] != self.name]
        self.run.history = others + [self._told(record) for record in (state["history"] if state else [])]
        return state

    def keep(self, state: Callable[[], dict[str, Any]], *, now: bool) -> None:
        if now or time.monotonic() - self.kept_at > KEEP_EVERY:
            self.run.keep(self.name, state())
            self.kept_at = time.monotonic()

    def looked(self, images: int) -> None:
        self.on_look(images)

    def step(self, step: Step) -> None:
        now = self._told(asdict(step))
        self.on_step(step, watch.note(self.run.history, now))
        if time.monotonic() - self.shown_at > SHOW_EVERY:
            self.run.show("running", now)
            self.shown_at = time.monotonic()

    def epoch(self, record: dict[str, Any]) -> None:
        self.run.history = [*self.run.history, self._told(record)]  # who was given the one before keeps it as it was
        self.run.show("running")
        self.on_epoch(self.run.history)

    def stop(self) -> bool:
        return self.stops()

    def _told(self, record: dict[str, Any]) -> dict[str, Any]:
        return {"phase": self.name, **record}

    def stopped(self, step: int) -> Stopped:
        self.run.show(f"stopped at step {step}; the same command with `--resume` goes on")
        return Stopped(f"Stopped after step {step}, and kept in {self.run.folder}. The same command with --resume goes on.")


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM wait until the step is over and its state is kept; a second Ctrl-C does not wait."""
    asked = threading.Event()

    def note(_: int, __: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(path: Path, text: str) -> None:
    with checkpoint.whole(path) as file:
        file.write(text.encode())
