"""Jobs, the service and a server's searcher against a plain model: what the laws say, whatever happens in which order.

Jobs run to their end or die on their way, and the service changes items while they run.
"""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from miniatures import TRANSFORM, CountingEncoder, Shop, content, make_bundle, write

from index import blobs
from index import job as jobs
from index.catalog import API_ORIGIN
from index.generation import Generation

IDS = st.sampled_from(["a.png", "b.png", "c/d.png", "c/e.png", "f.png"])
NUMBERS = st.integers(0, 6)
BROKEN = -1
GALLERY = "gallery"
MOMENTS = 4
CHANGES = st.lists(st.tuples(st.integers(0, MOMENTS - 1), st.booleans(), IDS, NUMBERS), max_size=4)


class Killed(BaseException):
    pass


class Model:
    """The law in plain words: id → (picture, owner), and the last version that each id had from a gallery."""

    def __init__(self) -> None:
        self.live: dict[str, tuple[int, str]] = {}
        self.last: dict[str, tuple[int, bool]] = {}  # picture, and whether the service took it away

    def copy(self) -> "Model":
        copy = Model()
        copy.live, copy.last = dict(self.live), dict(self.last)
        return copy

    def put(self, id: str, number: int) -> None:
        self._retire(id)
        self.live[id] = (number, API_ORIGIN)

    def delete(self, id: str) -> bool:
        if id not in self.live:
            return False
        self._retire(id)
        del self.live[id]
        return True

    def _retire(self, id: str) -> None:
        if id in self.last:
            self.last[id] = (self.last[id][0], True)

    def job(self, files: dict[str, int]) -> None:
        for id in {*files, *self.live}:
            number, owner = self.live.get(id, (None, None))
            file = files.get(id)
            if owner == API_ORIGIN or file in (number, BROKEN) or (owner is None and (file, True) == self.last.get(id)):
                continue
            if file is None:
                del self.live[id]
            else:
                self.live[id], self.last[id] = (file, GALLERY), (file, False)


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lookalike-"))
        self.shop = Shop(self.folder)
        self.bundles = [self.shop.bundle, make_bundle(self.folder / "bundle2", seed=2)]
        self.encoders = [self.shop.encoder, CountingEncoder(self.bundles[1])]
        self.using = 0
        self.shop.index(origin=GALLERY)
        self.model, self.files = Model(), {}
        self.catalog = self.shop.catalog()
        self.serve()

    def teardown(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder)

    # --- the gallery ---

    @rule(id=IDS, number=NUMBERS | st.just(BROKEN))
    def write_file(self, id, number):
        write(self.shop.gallery / id, b"no picture" if number == BROKEN else number)
        self.files[id] = number

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def remove_file(self, data):
        id = data.draw(st.sampled_from(sorted(self.files)))
        (self.shop.gallery / id).unlink()
        del self.files[id]

    # --- the service ---

    @rule(id=IDS, number=NUMBERS)
    def put(self, id, number):
        self.shop.upload(self.catalog, id, number, encoder=self.encoders[self.serving])
        self.model.put(id, number)
        self.visible[id] = number

    @rule(id=IDS)
    def delete(self, id):
        deleted = self.model.delete(id)
        assert self.catalog.delete(id) == deleted
        if deleted:
            self.visible.pop(id, None)

    @rule()
    def serve(self):
        """A server takes up the current generation."""
        self.serving = self.using
        self.searcher = self.shop.searcher(self.catalog)
        if self.searcher.pending:  # brought in by the server that it was, which had not loaded the new bundle yet
            encoder = self.encoders[self.serving]
            for item in self.catalog.pending(encoder.fingerprint):
                vector = encoder.vectors(TRANSFORM(blobs.read(self.shop.collection, self.catalog, item))[None])[0]
                self.catalog.add_pending(encoder.fingerprint, [item], {item.content: vector})
        self.visible = {id: number for id, (number, _) in self.model.live.items()}

    @rule()
    def reopen(self):
        self.catalog.close()
        self.catalog = self.shop.catalog()
        self.serve()

    # --- jobs ---

    @rule(changes=CHANGES, new_bundle=st.booleans())
    def job(self, changes, new_bundle):
        if new_bundle:
            self.serve()  # a server never lags more than one bundle behind
            self.using = 1 - self.using
        self.run(changes)
        if new_bundle:
            self.serve()

    @rule(changes=CHANGES, dies=st.integers(0, MOMENTS - 1), new_bundle=st.booleans())
    def job_that_dies(self, changes, dies, new_bundle):
        """Where it lives on because there was less to do than that, it must have had nothing to do."""
        before = self.using
        if new_bundle:
            self.serve()
            self.using = 1 - self.using
        try:
            self.run(changes, dies)
        except Killed:
            self.using = before
        else:
            raise AssertionError("every job comes to its publish")

    def run(self, changes, dies=None) -> None:
        """Run a job; before each time that it encodes, and before it publishes, changes happen or it dies."""
        bundle, encoder = self.bundles[self.using], self.encoders[self.using]
        moments, touched = iter(range(1000)), set()

        def moment(last=False):
            now = next(moments)
            for when, is_put, id, number in changes:
                if when == now:
                    self.put(id, number) if is_put else self.delete(id)
                    touched.add(id)
            if dies is not None and (now == dies or last):
                raise Killed

        def publish(*given):
            moment(last=True)
            done = real_publish(*given)
            self.published(touched)
            return done

        real_publish, jobs.publish, jobs.BATCH, encoder.meanwhile = jobs.publish, publish, 2, moment
        try:
            jobs.run(self.shop.gallery, bundle, encoder, self.shop.collection, origin=GALLERY, allow_shrink=True)
        finally:
            jobs.publish, jobs.BATCH, encoder.meanwhile = real_publish, 128, lambda: None

    def published(self, touched) -> None:
        before, live = self.model.copy(), self.catalog.live(self.catalog.live_keys().tolist())
        self.model.job(self.files)
        # Where the job had looked before the service took an item away, the new version comes with the next run only.
        for id in touched & set(self.model.live) - set(before.live) - {item.id for item in live.values()}:
            del self.model.live[id]
            del self.model.last[id]
            self.model.last |= {id: version for id, version in before.last.items() if id not in self.model.last}
        named = {name for file in (self.shop.collection / "generations").iterdir() for name in segments_of(file)}
        assert {folder.name for folder in (self.shop.collection / "segments").iterdir()} <= named

    # --- what always holds ---

    @invariant()
    def the_catalog_holds_what_the_model_says(self):
        live = self.catalog.live(self.catalog.live_keys().tolist())
        items = {item.id: (item.content, item.origin) for item in live.values()}
        assert items == {id: (content(number), owner) for id, (number, owner) in self.model.live.items()}
        assert self.catalog.state().count == len(live) == len(items)

    @invariant()
    def the_server_finds_its_generation_and_what_the_service_did(self):
        self.searcher.follow()
        self.shop.encoder = self.encoders[self.serving]
        found = {id: item.content for id, item in self.shop.look(self.searcher).items()}
        assert found == {id: content(number) for id, number in self.visible.items()}
        assert self.searcher.pending == 0

    @invariant()
    def nothing_is_encoded_twice(self):
        for encoder in self.encoders:
            assert max(encoder.images.values(), default=1) == 1


def segments_of(file: Path) -> list[str]:
    return Generation.model_validate_json(file.read_bytes()).segments


Life.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_life = Life.TestCase
