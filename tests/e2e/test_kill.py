"""`lookalike index` is killed again and again, while a server answers: nobody notices, and in the end nothing is lost."""

import csv
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from PIL import Image, ImageDraw

from index.catalog import FILE, Catalog
from index.generation import Generation

KILLS = 20
JOBS = 4  # so many of them must hit the job itself, and not its process before or after: else there are more kills
FILES = 300
FINISH_EVERY = 5  # kills; in between, jobs die on top of what dead jobs left


class Gallery:
    """Pictures that change; ``state`` is id → the round in which the picture, its name or its label last changed."""

    def __init__(self, root: Path, pictures: Path) -> None:
        self.root, self.random, self.round = root, random.Random(5), 0
        self.sources = sorted(pictures.glob("*/*.png"))[:FILES]
        root.mkdir()
        self.state = {f"{number}.png": 0 for number in range(FILES)}
        for id, source in zip(self.state, self.sources, strict=True):
            shutil.copy(source, root / id)
        self._label()

    def change(self) -> None:
        self.round += 1
        chosen = self.random.sample(sorted(self.state), 100)
        painted, renamed, removed, labelled = chosen[:80], chosen[80:84], chosen[84:87], chosen[87:]
        for id in painted:
            self._paint(id)
        for id in renamed:
            (self.root / id).rename(self.root / f"renamed-{self.round}-{id[-12:]}")
            self.state[f"renamed-{self.round}-{id[-12:]}"] = self.round
            del self.state[id]
        for id in removed:
            (self.root / id).unlink()
            del self.state[id]
        for number in range(self.random.randrange(7)):
            shutil.copy(self.random.choice(self.sources), self.root / f"new-{self.round}-{number}.png")
            self._paint(f"new-{self.round}-{number}.png")
        self.state |= dict.fromkeys(labelled, self.round)
        self._label()

    def _paint(self, id: str) -> None:
        """A picture that never was before."""
        with Image.open(self.root / id) as picture:
            painted = picture.convert("RGBA")
        corner = [self.random.randrange(60) for _ in range(2)]
        colour = tuple(self.random.randrange(256) for _ in range(3))
        ImageDraw.Draw(painted).rectangle([*corner, corner[0] + 20, corner[1] + 20], colour)
        painted.save(self.root / id)
        self.state[id] = self.round

    def _label(self) -> None:
        with (self.root / "labels.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerows([("path", "round"), *self.state.items()])


class Searches:
    """Ask for all items, over and over, in threads; keep what came: generation, its items with their rounds, the count."""

    def __init__(self, url: str, query: bytes) -> None:
        self.answers: list[tuple[int, dict[str, int], int]] = []
        self.errors: list[object] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url, query)) for _ in range(2)]

    def __enter__(self) -> "Searches":
        for thread in self._threads:
            thread.start()
        return self

    def _ask(self, url: str, query: bytes) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._ended.is_set():
                try:
                    answer = client.post(f"{url}/search?k=1000", content=query, headers={"content-type": "image/png"})
                    body = answer.raise_for_status().json()
                    items = {hit["id"]: int(hit["metadata"]["round"]) for hit in body["results"]}
                    self.answers.append((body["index"]["generation"], items, body["index"]["count"]))
                except Exception as error:  # whatever goes wrong is what this test looks for
                    self.errors.append(error)
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


class Index:
    """`lookalike index` as a process of its own."""

    def __init__(self, gallery: Gallery, bundle: Path, collection: Path, log: Path) -> None:
        self.gallery, self.collection, self.log = gallery, collection, log
        self.command = [sys.executable, "-m", "lookalike", "index", str(gallery.root), "--json"]
        self.duration = 0.0  # seconds of the last whole run
        self.command += ["--bundle", str(bundle), "--to", str(collection)]
        self.published: dict[int, dict[str, int]] = {}  # generation → what it holds

    def finish(self) -> dict:
        started = time.monotonic()
        done = subprocess.run(self.command, capture_output=True, text=True, check=False)
        self.duration = time.monotonic() - started
        assert done.returncode == 0, done.stderr
        self._note()
        return json.loads(done.stdout)

    def kill(self, after: float) -> bool:
        """True when it was running still."""
        with self.log.open("a") as log:
            process = subprocess.Popen(self.command, stdout=log, stderr=log)
        time.sleep(after)
        running = process.poll() is None
        process.kill()
        assert running or process.returncode == 0, self.log.read_text()
        process.wait()
        self._note()
        return running

    def _note(self) -> None:
        catalog = Catalog(self.collection)
        number = catalog.state().generation
        catalog.close()
        self.published.setdefault(number, dict(self.gallery.state))


def test_killed_at_any_moment(backbone, emoji_slice, start_server, tmp_path):
    gallery = Gallery(tmp_path / "gallery", emoji_slice)
    collection = tmp_path / "collection"
    index = Index(gallery, backbone.path, collection, tmp_path / "index.log")
    index.finish()
    server = start_server(collection)
    server.wait_ready()
    with Searches(server.url, (gallery.root / "7.png").read_bytes()) as searches:
        gallery.change()
        index.finish()
        kills = hits = jobs = 0
        for part in moments(gallery.random):
            gallery.change()
            kills += 1
            hits += index.kill(part * index.duration)
            jobs += died_working(collection)
            if kills % FINISH_EVERY == 0:
                assert index.finish()["count"] == len(gallery.state)
            if kills >= KILLS and jobs >= JOBS:
                break
        last = index.finish()

    print(f"{kills} kills over {index.duration:.1f} s: {hits} hit the process, {jobs} of them its job; ", end="")
    print(f"{len(searches.answers)} searches of {len(index.published)} generations, {len(searches.errors)} errors")
    assert searches.errors == []
    check_answers(searches.answers, index.published)
    files = len(list(gallery.root.glob("*.png")))
    assert last["count"] == files == len(gallery.state)
    assert (last["encoded"], last["unchanged"], last["unreadable"]) == (0, files, {})
    assert leftovers(collection) == []


def moments(chance: random.Random) -> Iterator[float]:
    """Shares of a run's duration, spread evenly and in any order, as many as are wanted."""
    while True:
        yield from chance.sample([(number + chance.random()) / KILLS for number in range(KILLS)], KILLS)


def check_answers(answers: list[tuple[int, dict[str, int], int]], published: dict[int, dict[str, int]]) -> None:
    """Each holds all of one generation and nothing else; its count is that one's, or that of a neighbour being taken up."""
    assert len(answers) > 100
    numbers = sorted(published)
    for generation, items, count in answers:
        assert items == published[generation]
        place = numbers.index(generation)
        assert count in {len(published[number]) for number in numbers[max(0, place - 1) : place + 2]}
    assert {generation for generation, _, _ in answers} >= set(numbers[1:-1:2]), "the server did not follow"


def died_working(collection: Path) -> bool:
    """Whether a job was between its beginning and its publish."""
    with sqlite3.connect(collection / FILE) as connection:
        (running,) = connection.execute("SELECT count(*) FROM jobs WHERE state = 'running'").fetchone()
    connection.close()
    return running > 0


def leftovers(collection: Path) -> list[str]:
    """Drafts, and segments that no generation names."""
    generations = (Generation.model_validate_json(file.read_bytes()) for file in (collection / "generations").glob("*.json"))
    named = {name for generation in generations for name in generation.segments}
    segments = {folder.name for folder in (collection / "segments").iterdir()}
    return [*segments - named, *(path.name for path in collection.rglob("*.tmp"))]
