"""What is done to a collection while it is killed. To add one: a function that prepares, one that acts, an entry in ``ALL``.

An act yields after everything that it has acknowledged. Its death must leave what was there after the last acknowledgement, or
what would have been there after the next; and it must be possible to do it all again, with the same end.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from unittest.mock import patch

from index import blobs
from index.catalog import Delete, Edit, NewItem, Patch, Put, Upkeep
from index.lifecycle import garbage, history
from index.lifecycle.garbage import Freed
from index.upkeep import backup as backups
from index.upkeep import replacing
from model.bundle import file_digest
from tests.index.miniatures import TRANSFORM, content, make_bundle, picture, write

from .shop import Shop, State, hold, look

Act = Callable[[Shop], Iterator[None]]
Holds = Callable[[Path, State], None]
_COLLECTION, _BACKUP = "collection", "backup"  # names of folders
_NO_FLAG = 1 << 10  # none that renameat2 knows


@dataclass(frozen=True)
class Scenario:
    """``folder``: the name of what is looked at.

    Two more looks, at all that lies in the shop's folder: ``holds`` after a death and after all was done again, given what
    there was at the beginning; ``ends`` after all was done again only. They raise ``Broken``.
    """

    name: str
    what: str
    prepare: Callable[[Shop], None]
    act: Act
    folder: str = _COLLECTION
    holds: Holds = lambda root, before: None
    ends: Callable[[Path], None] = lambda root: None


def _few(shop: Shop) -> None:
    shop.fill(range(10))


def _only_indexed(shop: Shop) -> None:
    shop.fill(range(10))
    shop.index()


def _many(shop: Shop) -> None:
    """A base of forty, a deleted item, one that came through the service; then a few files come, change and go."""
    _indexed(shop)
    write(shop.gallery / "3.png", 103)
    write(shop.gallery / "new.png", 104)
    (shop.gallery / "4.png").rename(shop.gallery / "renamed.png")
    (shop.gallery / "5.png").unlink()


def _indexed(shop: Shop) -> None:
    shop.fill(range(40))
    shop.index()
    catalog = shop.catalog()
    shop.upload(catalog, "came", 101, {"by": "the service"})
    catalog.delete("7.png")
    catalog.close()


def _much(shop: Shop) -> None:
    """So much changes that a new base takes all; there are two segments before."""
    _many(shop)
    shop.index()
    for number in range(10, 25):
        write(shop.gallery / f"{number}.png", 110 + number)


def _other_bundle(shop: Shop) -> None:
    """The network changes: everything is encoded anew, what came through the service too."""
    _many(shop)
    _other_network(shop)


def _other_network(shop: Shop, seed: int = 2) -> None:
    shop.use(make_bundle(shop.folder / "bundle", seed))


def _job(shop: Shop) -> Iterator[None]:
    shop.index()
    yield


def _first_upload(shop: Shop) -> Iterator[None]:
    """A server that has been at work for some time gets its first picture."""
    catalog = shop.catalog()
    catalog.delete("5.png")
    yield
    shop.upload(catalog, "first", 201)
    yield
    catalog.close()


def _changes(shop: Shop) -> Iterator[None]:
    """Items come, are replaced, taken over from the gallery, deleted."""
    catalog = shop.catalog()
    shop.upload(catalog, "first", 201)
    yield
    shop.upload(catalog, "3.png", 202, {"taken": "over"})
    yield
    shop.upload(catalog, "first", 203, {"replaced": True})
    yield
    catalog.delete("5.png")
    yield
    catalog.delete("came")
    yield
    shop.upload(catalog, "came", 101, {"by": "the service, again"})
    yield
    catalog.close()


def _three_generations(shop: Shop) -> None:
    """The last two are within reach: both changed 3.png and renamed.png, and the service 8.png in between."""
    _many(shop)
    shop.index()
    with closing(shop.catalog()) as catalog:
        shop.upload(catalog, "8.png", 102, {"taken": "over"})
    write(shop.gallery / "3.png", 105)
    (shop.gallery / "renamed.png").unlink()
    shop.index()


def _to_and_fro(shop: Shop) -> Iterator[None]:
    """Back to the first generation by its number, a change there, and forward to the last one."""
    with closing(shop.catalog()) as catalog:
        numbers = [each.number for each in history.kept(catalog, shop.collection)]
        history.roll_back(catalog, shop.collection, min(numbers))
        yield
        shop.upload(catalog, "first", 201)
        yield
        history.roll_back(catalog, shop.collection, max(numbers))
        yield


def _rolled_back(shop: Shop) -> None:
    _three_generations(shop)
    with closing(shop.catalog()) as catalog:
        history.roll_back(catalog, shop.collection)


def _much_garbage(shop: Shop) -> None:
    """Of everything that can be freed there is something, and a generation that was rolled back."""
    _three_generations(shop)
    _other_network(shop)
    shop.index()
    with closing(shop.catalog()) as catalog:
        catalog.delete("came")
    _other_network(shop, seed=3)
    shop.index()
    write(shop.gallery / "3.png", 106)
    shop.index()
    with closing(shop.catalog()) as catalog:
        history.roll_back(catalog, shop.collection)
        for file in (shop.collection / "blobs").iterdir():
            os.utime(file, (0, 0))  # the young are left alone
        freed = garbage.collect(catalog, shop.collection, keep=1, dry_run=True)
    hold(all(astuple(freed)), f"not of everything is there something to be freed: {freed}")


def _collected(shop: Shop) -> Iterator[None]:
    with closing(shop.catalog()) as catalog:
        garbage.collect(catalog, shop.collection, keep=1)
        yield


def _nothing_is_left(root: Path) -> None:
    """No garbage; and the generation that was rolled back is still within reach."""
    collection = root / "collection"
    with closing(Shop(root).catalog()) as catalog:
        freed = garbage.collect(catalog, collection, keep=1, dry_run=True)
        hold(freed == Freed(), f"after a collection there is still to be freed: {freed}")
        aside = list((collection / "blobs").glob(".*"))
        hold(not aside, f"pictures lie aside: {aside}")
        history.roll_back(catalog, collection, history.kept(catalog, collection)[-1].number)
    look(collection)


def _edited(shop: Shop) -> Iterator[None]:
    """Two batches; in each items come, are replaced, get other metadata, and go."""
    with closing(shop.catalog()) as catalog:
        for number, gone in ((201, "5.png"), (211, "came")):
            _keep(shop, 8)  # as the service does before it takes an item over
            edits: list[Edit] = [_put(shop, id, number + place) for place, id in enumerate(("3.png", "first", "short"))]
            edits += [Patch(id, {"by": number}) for id in ("8.png", "first")] + [Delete(id) for id in (gone, "short")]
            catalog.apply(edits, shop.encoder.fingerprint)
            yield


def _keep(shop: Shop, number: int) -> bytes:
    data = picture(number)
    blobs.write(shop.collection, content(number), data)
    return data


def _put(shop: Shop, id: str, number: int) -> Put:
    data = _keep(shop, number)
    return Put(NewItem(id, content(number), {}, len(data), 0), shop.encoder.vectors(TRANSFORM(data)[None])[0])


def _backed_up(shop: Shop) -> None:
    """A backup, and much that came after it."""
    _many(shop)
    backups.backup(shop.collection, shop.folder / _BACKUP)
    shop.index()
    with closing(shop.catalog()) as catalog:
        shop.upload(catalog, "8.png", 102, {"taken": "over"})
        catalog.delete("came")


def _backup(shop: Shop) -> Iterator[None]:
    backups.backup(shop.collection, shop.folder / _BACKUP)
    yield


def _backup_is_whole(root: Path, _: State) -> None:
    """Every file that it lists, no other one, and the collection is one too."""
    place = root / _BACKUP
    files = backups.read(place).files
    found = {str(path.relative_to(place)): path for path in place.rglob("*") if path.is_file()}
    found = {name: path for name, path in found.items() if not name.endswith(("-wal", "-shm"))}
    hold(found.keys() == {*files, backups.MANIFEST}, f"the backup lists {sorted(files)} and has {sorted(found)}")
    for name, file in files.items():
        hold(file_digest(found[name]) == file.sha256, f"{name} of the backup is not what was written")
    look(root / "collection")


def _in_steps(act: Act) -> Act:
    """As on a file system where two folders cannot change their places in one step."""

    def acts(shop: Shop) -> Iterator[None]:
        with patch.object(replacing, "_EXCHANGE", _NO_FLAG):
            yield from act(shop)

    return acts


def _settled(folder: str, holds: Holds) -> Holds:
    """As the next backup or restore finds it."""

    def look(root: Path, before: State) -> None:
        replacing.settle(root / folder)
        holds(root, before)

    return look


def _restore(shop: Shop) -> Iterator[None]:
    backups.restore(shop.folder / _BACKUP, shop.collection, replace=True)
    yield


def _old_one_is_there(root: Path, before: State) -> None:
    """The collection itself, or one that was set aside, whose numbers are not given out again."""
    collections = [root / "collection", *root.glob("collection.before-*")]
    hold(before in map(look, collections), f"the old collection is none of {[str(path) for path in collections]}")
    given = []
    for path in collections:
        with closing(Upkeep(path)) as catalog:
            given.append(astuple(catalog.numbers()))
    hold(all(max(each) == each[0] for each in zip(*given, strict=True)), f"numbers are given out again: {given}")
    _backup_is_whole(root, before)


ALL = (
    Scenario("first", "a first job of 10 pictures", _few, _job),
    Scenario("segment", "a job with a few changes, which adds a segment", _many, _job),
    Scenario("merge", "a job with many changes, which makes a new base", _much, _job),
    Scenario("bundle", "a job with another bundle, which encodes all anew", _other_bundle, _job),
    Scenario("upload", "a deletion, and the first picture that comes through the service", _only_indexed, _first_upload),
    Scenario("service", "six changes through the service", _indexed, _changes),
    Scenario("edits", "two batches of puts, patches and deletions, each as one", _indexed, _edited),
    Scenario("rollback", "back to a generation by its number, a change, and forward again", _three_generations, _to_and_fro),
    Scenario("onward", "a job after a rollback", _rolled_back, _job),
    Scenario("gc", "garbage of everything there is, one generation kept", _much_garbage, _collected, ends=_nothing_is_left),
    Scenario("backup", "a second backup in place of the first", _backed_up, _backup, _BACKUP, _backup_is_whole),
    Scenario("restore", "a backup in place of a collection that changed", _backed_up, _restore, holds=_old_one_is_there),
    Scenario(
        "backup-in-steps",
        "the same where folders are not exchanged in one step",
        _backed_up,
        _in_steps(_backup),
        _BACKUP,
        _settled(_BACKUP, _backup_is_whole),
    ),
    Scenario(
        "restore-in-steps",
        "the same where folders are not exchanged in one step",
        _backed_up,
        _in_steps(_restore),
        holds=_settled(_COLLECTION, _old_one_is_there),
    ),
)
