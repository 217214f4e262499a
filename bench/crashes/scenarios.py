"""What is done to a collection while it is killed. To add one: a function that prepares, one that acts, a line in ``ALL``.

An act yields after everything that it has acknowledged. Its death must leave what was there after the last acknowledgement, or
what would have been there after the next; and it must be possible to do it all again, with the same end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.index.miniatures import make_bundle, write

from .shop import Shop

Act = Callable[[Shop], Iterator[None]]


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    prepare: Callable[[Shop], None]
    act: Act


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
    make_bundle(shop.folder / "bundle", seed=2)


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


ALL = (
    Scenario("first", "a first job of 10 pictures", _few, _job),
    Scenario("segment", "a job with a few changes, which adds a segment", _many, _job),
    Scenario("merge", "a job with many changes, which makes a new base", _much, _job),
    Scenario("bundle", "a job with another bundle, which encodes all anew", _other_bundle, _job),
    Scenario("upload", "a deletion, and the first picture that comes through the service", _only_indexed, _first_upload),
    Scenario("service", "six changes through the service", _indexed, _changes),
)
