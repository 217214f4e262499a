"""A small collection in, what it holds out, checked against itself; and processes that live for one function only.

The pictures, the bundle of a few bytes and its encoder are those of the tests. Everything that opens a catalog runs in a
process of its own: so nothing that a process remembers can hide what the disk has lost.
"""

import hashlib
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import sqlalchemy as sa

from index import blobs
from index import catalog as catalogs
from index import generation as generations
from index.catalog import API_ORIGIN, FILE, Catalog, CatalogError, Item
from index.generation import Generation
from index.job import Report, job, judge
from index.search import segment as segments
from index.search.searcher import Searcher
from index.upkeep import backup
from model import bundle as bundles
from tests.index import miniatures
from tests.index.miniatures import DIM, TRANSFORM, content, picture

P = ParamSpec("P")
R = TypeVar("R")

PICTURES = 400  # numbers of pictures below this one are used
GALLERY = "gallery"
_FILES_A_COMMIT = 8
_QUERIES = 4
_ROUNDED = 1e-6


class Broken(Exception):
    """What must hold does not; the message says what was found."""


@dataclass(frozen=True)
class State:
    """What a collection holds: the bundle that it is searched with, and id → origin, content and metadata."""

    fingerprint: str | None = None
    items: tuple[tuple[str, str, str, str], ...] = ()

    def __str__(self) -> str:
        held = ", ".join(f"{id} of {origin}: {content[:6]} {metadata}" for id, origin, content, metadata in self.items)
        return f"[{(self.fingerprint or 'no bundle')[:6]}: {held}]"


class Shop(miniatures.Shop):
    """A gallery, a bundle and a collection in one folder, new or as it was left."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gallery, self.collection = folder, folder / "gallery", folder / "collection"
        self.gallery.mkdir(parents=True, exist_ok=True)
        catalogs.catalog.FOLLOWED = 0.0  # nobody follows
        made = folder / "bundle"
        self.use(bundles.load(made) if made.exists() else miniatures.make_bundle(made))

    def index(self, gallery: Path | None = None, **options: Any) -> Report:
        job.BATCH = _FILES_A_COMMIT  # so that a few files are several commits
        judge.PICTURES = 0  # a verdict on a new bundle would encode some once more
        return super().index(gallery, origin=GALLERY, **options)


def apart(work: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
    """What ``work`` returns in a process of its own. Raises ``Broken`` with what it raised there."""
    _contents()  # here, so that it is worked out once for all processes
    context = get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, work, given, named))
    process.start()
    there.close()
    try:
        result, error = here.recv()
    except EOFError:
        result, error = None, "its process died"
    process.join()
    if error is not None:
        raise Broken(error)
    return result  # type: ignore[no-any-return]


def _answer(connection: Connection, work: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> None:
    try:
        connection.send((work(*given, **named), None))
    except Broken as error:
        connection.send((None, str(error)))
    except Exception:  # a check that cannot be made has failed
        connection.send((None, traceback.format_exc()))


def look(collection: Path) -> State:
    """What a collection holds. Raises ``Broken`` where count, search, files and catalog do not agree."""
    if not (collection / FILE).exists():
        return State()
    try:
        catalog = Catalog(collection)
    except CatalogError as error:
        if "holds no collection yet" in str(error):
            return State()
        raise
    try:
        return _looked(collection, catalog)
    finally:
        catalog.close()


def _looked(collection: Path, catalog: Catalog) -> State:
    state = catalog.state()
    live = list(catalog.live(catalog.live_keys().tolist()).values())
    hold(state.count == len(live), f"the catalog counts {state.count} live items and has {len(live)}")
    hold(len({item.id for item in live}) == len(live), "an id has two live versions")
    hold(state.generation is not None or not live, f"{len(live)} items are live, and no generation is")
    if state.generation is None:
        return State()
    generation = generations.read(collection, state.generation)
    for each in [generation, *_within_reach(collection, catalog)]:
        for name in each.segments:
            segments.verify(collection / "segments" / name)
        bundles.load(collection / "bundles" / each.fingerprint)
    _search(catalog, Searcher(collection, catalog, state.generation, DIM), live)
    for item in live:
        if item.origin == API_ORIGIN:
            data = blobs.read(collection, catalog, item)
            hold(data is not None and hashlib.sha256(data).hexdigest() == item.content, f"the picture of {item.id} is lost")
    held = sorted((item.id, item.origin, item.content, str(item.metadata)) for item in live)
    return State(generation.fingerprint, tuple(held))


def _within_reach(collection: Path, catalog: Catalog) -> list[Generation]:
    """Generations that somebody may go back to, or forward."""
    done = catalog.done()
    return [each for each in generations.readable(collection) if each.number in done]


def _search(catalog: Catalog, searcher: Searcher, live: list[Item]) -> None:
    """Whether every search finds what comparing all live items finds."""
    rows = list(catalog.vectors([item.key for item in live], searcher.generation.fingerprint, DIM))
    hold(searcher.pending == len(live) - len(rows), f"{searcher.pending} items wait, {len(live) - len(rows)} lack a vector")
    keys = np.array([item.key for item, _ in rows], np.int64)
    vectors = np.array([vector for _, vector in rows], np.float64).reshape(-1, DIM)
    for query in np.random.default_rng(0).normal(size=(_QUERIES, DIM)):
        unit = (query / np.linalg.norm(query)).astype(np.float32)
        scores = dict(zip(keys.tolist(), (vectors @ unit.astype(np.float64)).tolist(), strict=True))
        wanted = sorted(scores.values(), reverse=True)
        for k in (3, len(live) + 1):
            found = [hit.item.key for hit in searcher.search(unit, k)]
            hold(set(found) <= scores.keys() and len(set(found)) == len(found), f"a search finds {found} of {sorted(scores)}")
            # By scores: which of two comes first may be decided by rounding.
            many = len(found) == len(wanted[:k])
            right = many and np.allclose([scores[key] for key in found], wanted[:k], rtol=0, atol=_ROUNDED)
            hold(right, f"a search finds {found}, whose scores are not {wanted[:k]}")


def hold(true: bool, message: str) -> None:
    """Raises ``Broken``."""
    if not true:
        raise Broken(message)


def strays(collection: Path) -> list[str]:
    """Files that nothing in the collection, or backup, accounts for, and drafts inside and beside it.

    Pictures and their drafts are not among them: a request that died leaves its own, for the sweep of a later day.
    """
    with closing(Catalog(collection)) as catalog:
        kept = _within_reach(collection, catalog)
    expected = {collection / name for name in ("job.lock", backup.MANIFEST, FILE, f"{FILE}-wal", f"{FILE}-shm")}
    expected |= {generations.path(collection, generation.number) for generation in kept}
    folders = {collection / "segments" / name for generation in kept for name in generation.segments}
    folders |= {collection / "bundles" / fingerprint for fingerprint in _bundles(collection)} | {collection / "blobs"}
    found = [path for path in collection.rglob("*") if path.is_file() and not folders & set(path.parents)]
    drafts = [*collection.glob("segments/.*"), *collection.parent.glob(".*")]
    return sorted(map(str, {*found, *drafts} - expected))


def _bundles(collection: Path) -> list[str]:
    return [path.name for path in (collection / "bundles").glob("*") if not path.name.startswith(".")]


def encoded(collection: Path) -> set[tuple[str, str]]:
    """Content and fingerprint of all vectors that are kept."""
    if not (collection / FILE).exists():
        return set()
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(collection / FILE)))
    with engine.connect() as rows:
        if not sa.inspect(rows).has_table("vectors"):
            return set()
        return {(row[0], row[1]) for row in rows.exec_driver_sql("SELECT content, fingerprint FROM vectors")}


def check_encoded(encoder: miniatures.CountingEncoder, before: set[tuple[str, str]]) -> None:
    """Raises ``Broken`` where a picture was encoded twice, or although its vector was kept ``before``."""
    contents = _contents()
    again = {contents[image][:6] for image in encoder.images if (contents[image], encoder.fingerprint) in before}
    hold(not again, f"pictures were encoded though their vectors were kept: {again}")
    hold(max(encoder.images.values(), default=1) == 1, "a picture was encoded twice in one run")


@cache
def _contents() -> dict[bytes, str]:
    """The pixels that an encoder sees → the content that they are of."""
    return {TRANSFORM(picture(number)).tobytes(): content(number) for number in range(PICTURES)}
