"""Would a campaign find anything? ``python -m bench.crashes.spoiled`` makes parts of the code wrong, one at a time, and tries.

Each spoiling is a patch of one function, made before the processes fork, and one scenario is tried on it. Out comes a table of
how many of the kills and cuts that were tried failed. The exit status is 1 where something that is wrong was not found.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

from index import blobs, generation
from index.catalog import Catalog, Edit, database, schema
from index.job import job
from index.lifecycle import garbage
from index.search import segment
from index.upkeep import replacing
from model import Failure, bundle

from .campaign import LOSES, Campaign, Tried, attempt
from .scenarios import ALL

_HEAD = """| made wrong | scenario | kills that failed | cuts that failed, all lost | a part kept by chance |
| --- | --- | --- | --- | --- |"""


@dataclass(frozen=True)
class Spoiling:
    """The function ``name`` of ``owner`` becomes ``wrong`` of it."""

    what: str
    scenario: str
    owner: Any
    name: str
    wrong: Callable[[Any], Any]


def main() -> int:
    asked = _arguments()
    print(_HEAD)
    chosen = [spoiling for spoiling in SPOILINGS if spoiling.scenario in asked.scenarios]
    missed = [spoiling for spoiling in chosen if not _is_found(spoiling, asked.every, asked.seed)]
    return 1 if missed else 0


def _is_found(spoiling: Spoiling, every: int, seed: int) -> bool:
    """Prints its row."""
    tried = Tried()
    scenario = next(scenario for scenario in ALL if scenario.name == spoiling.scenario)
    wrong = spoiling.wrong(getattr(spoiling.owner, spoiling.name))
    with TemporaryDirectory() as folder, patch.object(spoiling.owner, spoiling.name, wrong):
        attempt(Campaign(scenario, Path(folder)), tried, "", lambda _: None, every, seed)
    kills = sum("--at" in point for point in tried.failures)
    lost = sum(point.endswith(LOSES) for point in tried.failures)
    cuts, by_chance = tried.cuts // 2, len(tried.failures) - kills - lost
    figures = f"{kills} of {tried.crashes} | {lost} of {cuts} | {by_chance} of {cuts}"
    print(f"| {spoiling.what} | {spoiling.scenario} | {figures} |", flush=True)
    return bool(tried.failures)


# --- what is made wrong: the right function in, the wrong one out ---


def _left_out(right: Any) -> Any:
    return lambda *given: None


def _normal(right: Any) -> Any:
    def wrong(connection: Any, record: Any) -> None:
        right(connection, record)
        connection.execute("PRAGMA synchronous=NORMAL")

    return wrong


def _without_sync(right: Any) -> Any:
    def wrong(*given: Any) -> Any:
        with patch.object(bundle, "sync", _left_out(bundle.sync)):
            return right(*given)

    return wrong


def _one_by_one(right: Any) -> Any:
    def wrong(catalog: Catalog, edits: Sequence[Edit], fingerprint: str) -> Any:
        return [right(catalog, [edit], fingerprint)[0] for edit in edits]

    return wrong


def _pointer_first(right: Any) -> Any:
    def wrong(catalog: Catalog, number: int) -> Any:
        with catalog.writing() as rows:
            rows.execute(sa.update(schema.current).values(generation=number))
        return right(catalog, number)

    return wrong


def _files_first(right: Any) -> Any:
    def wrong(collection: Any) -> Any:
        collection._remove_all_but("segments", {name for each in collection.kept for name in each.segments})
        return right(collection)

    return wrong


def _removed_first(right: Any) -> Any:
    def wrong(one: Path, other: Path) -> None:
        shutil.rmtree(other)
        one.rename(other)

    return wrong


SPOILINGS = (
    Spoiling("the catalog's `synchronous=NORMAL`", "service", database, "_configure", _normal),
    Spoiling("the folder of pictures is not synced", "service", blobs, "sync", _left_out),
    Spoiling("the segment's folder is not synced", "segment", segment, "sync", _left_out),
    Spoiling("the folder of generations is not synced", "segment", generation, "sync", _left_out),
    Spoiling("nothing of a bundle is synced", "first", job, "keep_bundle", _without_sync),
    Spoiling("a batch is written edit by edit", "edits", Catalog, "apply", _one_by_one),
    Spoiling("a rollback moves the pointer first, the marks later", "rollback", Catalog, "roll_back", _pointer_first),
    Spoiling("segments go before the generations that name them", "gc", garbage._Collection, "run", _files_first),
    Spoiling("what went is not synced before what it needed goes", "gc", garbage, "sync", _left_out),
    Spoiling("a backup is not flushed to the disk", "backup", replacing, "flush", _left_out),
    Spoiling("the old backup is removed, then the new one put there", "backup", replacing, "exchange", _removed_first),
    Spoiling("a restored collection is not flushed to the disk", "restore", replacing, "flush", _left_out),
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.crashes.spoiled", description=__doc__.splitlines()[0])
    names = list(dict.fromkeys(spoiling.scenario for spoiling in SPOILINGS))
    parser.add_argument("scenarios", nargs="*", default=names, metavar="scenario", help=f"{', '.join(names)}; by default all")
    parser.add_argument("--every", type=int, default=1, help="try one in so many kills and cuts only")
    parser.add_argument("--seed", type=int, default=0, help="of the cuts between syncs, and of what they keep")
    asked = parser.parse_args()
    if unknown := set(asked.scenarios) - set(names):
        parser.error(f"nothing is spoiled in {', '.join(sorted(unknown))}, only in {', '.join(names)}")
    return asked


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as error:
        sys.exit(str(error))
