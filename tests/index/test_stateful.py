"""Jobs, the service and a server's searcher against a plain model: what the laws say, whatever happens in which order.

Jobs run to their end or die on their way, and the service changes items while they run.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from miniatures import TRANSFORM, CountingEncoder, Shop, content, make_bundle, picture, write

from index import blobs
from index.catalog import API_ORIGIN, Delete, NewItem, Patch, Put, Refused, content_of
from index.generation import Generation
from index.job import job as jobs
from index.job import judge
from index.lifecycle import garbage, history

IDS = st.sampled_from(["a.png", "b.png", "c/d.png", "c/e.png", "f.png"])
NUMBERS = st.integers(0, 6)
BROKEN = -1
GALLERY = "gallery"
MOMENTS = 4
BARE_FROM = 100
LATE = 10**9
CHANGES = st.lists(st.tuples(st.integers(0, MOMENTS - 1), st.booleans(), IDS, NUMBERS), max_size=4)


class Killed(BaseException):
    pass


class Model:
    """The law in plain words: id → (picture, owner); the versions that each id had from a gallery; what was published."""

    def __init__(self) -> None:
        self.live: dict[str, tuple[int, str]] = {}
        # of each id in their order: job, picture, and whether the service took it away
        self.versions: dict[str, list[tuple[int, int, bool]]] = {}
        # what the service said of an id last, None that it is gone, and when: in the order of edits and publishes
        self.said: dict[str, tuple[int, tuple[int, str] | None]] = {}
        self.published: dict[int, tuple[int, dict[str, tuple[int, str]]]] = {}  # job → when, and what was live
        self.generation = 0
        self.now = 0

    def copy(self) -> "Model":
        copy = Model()
        copy.live, copy.versions = dict(self.live), {id: list(versions) for id, versions in self.versions.items()}
        return copy

    def last(self, id: str) -> tuple[int, bool] | None:
        """The picture of the last version from a gallery, and whether the service took it away."""
        return self.versions[id][-1][1:] if self.versions.get(id) else None

    def put(self, id: str, number: int) -> None:
        self.live[id] = (number, API_ORIGIN)
        self._say(id)

    def patch(self, id: str) -> bool:
        if id not in self.live:
            return False
        self.put(id, self.live[id][0])
        return True

    def delete(self, id: str) -> bool:
        if id not in self.live:
            return False
        del self.live[id]
        self._say(id)
        return True

    def _say(self, id: str) -> None:
        self.now += 1
        self.said[id] = self.now, self.live.get(id)
        self.versions[id] = [(job, number, True) for job, number, _ in self.versions.get(id, [])]

    def begin(self) -> None:
        """What was rolled back is undone, but for what the service took away."""
        for id, versions in self.versions.items():
            self.versions[id] = [version for version in versions if version[0] <= self.generation or version[2]]
        self.published = {job: what for job, what in self.published.items() if job <= self.generation}

    def job(self, files: dict[str, int], job: int) -> None:
        for id in {*files, *self.live}:
            number, owner = self.live.get(id, (None, None))
            file = files.get(id)
            if owner == API_ORIGIN or file in (number, BROKEN) or (owner is None and (file, True) == self.last(id)):
                continue
            if file is None:
                del self.live[id]
            else:
                self.live[id] = (file, GALLERY)
                self.versions.setdefault(id, []).append((job, file, False))

    def publish(self, job: int) -> None:
        self.now += 1
        self.generation = job
        self.published[job] = (self.now, dict(self.live))

    def roll_back(self, job: int) -> None:
        """All is as it was, but for ids of which the service has said something since: these are as it left them."""
        when, live = self.published[job]
        since = {id: item for id, (said, item) in self.said.items() if said > when}
        self.live = {id: item for id, item in {**live, **since}.items() if item is not None}
        self.generation = job


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lookalike-"))
        self.shop = Shop(self.folder)
        self.bundles = [self.shop.bundle, make_bundle(self.folder / "bundle2", seed=2)]
        self.encoders = [self.shop.encoder, CountingEncoder(self.bundles[1])]
        self.using = 0
        self.model, self.files = Model(), {}
        self.bundle_of = {self.shop.index(origin=GALLERY).generation: 0}  # generation → which one
        self.catalog = self.shop.catalog()
        self.model.publish(self.catalog.state().generation)
        self.serve()
        for id in ("a.png", "b.png"):  # so that there is a way back from the start
            self.write_file(id, 0)
        self.run([])
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

    @rule(id=IDS)
    def patch(self, id):
        self.edit([("patch", id, 0)])

    @rule(edits=st.lists(st.tuples(st.sampled_from(["put", "patch", "delete", "vector", "late"]), IDS, NUMBERS), max_size=5))
    def edit(self, edits):
        """Many at once; a late one expects a version that is not there."""
        encoder, asked, expected = self.encoders[self.serving], [], []
        for kind, id, number in edits:
            if kind == "vector":
                number = bare(number, self.serving)
            match kind:
                case "put" | "vector":
                    asked.append(self.putting(id, number, encoder))
                    self.model.put(id, number)
                    expected.append(True)
                case "patch":
                    if (there := self.model.live.get(id, (BARE_FROM,))[0]) < BARE_FROM:  # the service takes the picture over
                        blobs.write(self.shop.collection, content(there), picture(there))
                    asked.append(Patch(id, {"patched": number}))
                    expected.append(self.model.patch(id))
                case "delete":
                    asked.append(Delete(id))
                    expected.append(self.model.delete(id))
                case "late":
                    asked.append(Delete(id, expected=LATE))
                    expected.append(False)
            if expected[-1]:
                self.show(id)
        results = self.catalog.apply(asked, encoder.fingerprint)
        assert [not isinstance(result, Refused) for result in results] == expected

    def putting(self, id, number, encoder) -> Put:
        if number < BARE_FROM:
            blobs.write(self.shop.collection, content(number), picture(number))
        return Put(NewItem(id, self.hash_of(number), {}, 1, 0), vector_of(number, encoder))

    def hash_of(self, number) -> str:
        if number < BARE_FROM:
            return content(number)
        return content_of(vector_of(number, self.encoders[bundle_of_bare(number)]))

    def show(self, id) -> None:
        """The server sees what the service did at once, where it can: another bundle's bare vector is nothing to it."""
        self.visible.pop(id, None)
        if id in self.model.live and self.can_show(self.model.live[id][0]):
            self.visible[id] = self.model.live[id][0]

    def can_show(self, number) -> bool:
        return number < BARE_FROM or bundle_of_bare(number) == self.serving

    @rule()
    def serve(self):
        """A server takes up the current generation."""
        self.serving = self.using
        self.searcher = self.shop.searcher(self.catalog)
        if self.searcher.pending:  # brought in by the server that it was, which had not loaded the new bundle yet
            encoder = self.encoders[self.serving]
            for item in self.catalog.pending(encoder.fingerprint):
                if (data := self.bytes(item)) is not None:
                    vector = encoder.vectors(TRANSFORM(data)[None])[0]
                    self.catalog.add_pending(encoder.fingerprint, [item], {item.content: vector})
            self.searcher.follow()
        self.visible = {id: number for id, (number, _) in self.model.live.items() if self.can_show(number)}
        self.number = self.model.generation

    @rule()
    def reopen(self):
        self.catalog.close()
        self.catalog = self.shop.catalog()
        self.serve()

    def bytes(self, item) -> bytes | None:
        """The picture, if it is still the item's; one that a patch took over from a gallery is with the service."""
        data = blobs.read(self.shop.collection, self.catalog, item)
        return data if data is not None and hashlib.sha256(data).hexdigest() == item.content else None

    # --- back, forward, and what nobody needs any more ---

    @rule(which=st.integers(0, 3))
    def roll_back(self, which):
        kept = [each.number for each in history.kept(self.catalog, self.shop.collection)]
        number = kept[which % len(kept)]
        if self.bundle_of[number] != self.bundle_of[self.model.generation]:
            self.serve()  # a server never lags more than one bundle behind
        assert history.roll_back(self.catalog, self.shop.collection, number).number == number
        self.model.roll_back(number)
        self.using = self.bundle_of[number]
        assert {each.number: each.state for each in history.kept(self.catalog, self.shop.collection)} == {
            each: "current" if each == number else "kept" if each < number else "rolled back" for each in kept
        }

    @rule(keep=st.integers(1, 3))
    def collect(self, keep):
        kept = [each.number for each in history.kept(self.catalog, self.shop.collection)]
        if self.number not in [each for each in kept if each <= self.model.generation][-keep:]:
            self.serve()
        told = garbage.collect(self.catalog, self.shop.collection, keep, dry_run=True)
        assert garbage.collect(self.catalog, self.shop.collection, keep) == told
        for encoder in self.encoders:  # what was forgotten may be encoded again
            for number in range(7):
                if self.catalog.without_vector([content(number)], encoder.fingerprint):
                    encoder.images.pop(TRANSFORM(picture(number)).tobytes(), None)

    @rule(which=st.integers(0, 3))
    def to_and_fro(self, which):
        """The server follows neither."""
        now = self.model.generation
        self.roll_back(which)
        self.the_server_finds_its_generation_and_what_the_service_did()
        self.roll_back([each.number for each in history.kept(self.catalog, self.shop.collection)].index(now))

    # --- jobs ---

    @rule(changes=CHANGES, new_bundle=st.booleans())
    def job(self, changes, new_bundle):
        self.before_job(new_bundle)
        self.run(changes)
        if new_bundle:
            self.serve()

    def before_job(self, new_bundle) -> None:
        if new_bundle or self.number > self.model.generation:
            self.serve()  # a server never lags more than one bundle behind, and never follows a rollback after the next job
        if new_bundle:
            self.using = 1 - self.using

    @rule(changes=CHANGES, dies=st.integers(0, MOMENTS - 1), new_bundle=st.booleans())
    def job_that_dies(self, changes, dies, new_bundle):
        """Where it lives on because there was less to do than that, it must have had nothing to do."""
        before = self.using
        self.before_job(new_bundle)
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
        self.model.begin()

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
            self.published(touched, given[2].number)
            return done

        judge.PICTURES = 0  # a verdict would encode some once more
        real_publish, jobs.publish, jobs.BATCH, encoder.meanwhile = jobs.publish, publish, 2, moment
        try:
            asked = {"origin": GALLERY, "allow_shrink": True, "drop_vector_only": True}
            jobs.run(self.shop.gallery, bundle, encoder, self.shop.collection, **asked)
        finally:
            jobs.publish, jobs.BATCH, encoder.meanwhile = real_publish, 128, lambda: None

    def leave_behind(self) -> None:
        """Bare vectors of another bundle."""
        for id, (number, _) in list(self.model.live.items()):
            if number >= BARE_FROM and bundle_of_bare(number) != self.using:
                del self.model.live[id]

    def published(self, touched, job) -> None:
        before, live = self.model.copy(), self.catalog.live(self.catalog.live_keys().tolist())
        self.model.job(self.files, job)
        self.leave_behind()
        # Where the job had looked before the service took an item away, the new version comes with the next run only.
        for id in touched & set(self.model.live) - set(before.live) - {item.id for item in live.values()}:
            del self.model.live[id]
            self.model.versions[id] = before.versions.get(id, [])
        if self.catalog.state().generation == job:
            self.bundle_of[job] = self.using
            self.model.publish(job)
        named = {name for file in (self.shop.collection / "generations").iterdir() for name in segments_of(file)}
        assert {folder.name for folder in (self.shop.collection / "segments").iterdir()} <= named

    # --- what always holds ---

    @invariant()
    def the_catalog_holds_what_the_model_says(self):
        live = self.catalog.live(self.catalog.live_keys().tolist())
        items = {item.id: (item.content, item.origin) for item in live.values()}
        assert items == {id: (self.hash_of(number), owner) for id, (number, owner) in self.model.live.items()}
        assert self.catalog.state().count == len(live) == len(items)

    @invariant()
    def the_server_finds_its_generation_and_what_the_service_did(self):
        self.searcher.follow()
        self.shop.encoder = self.encoders[self.serving]
        found = {id: item.content for id, item in self.shop.look(self.searcher).items()}
        assert found == {id: self.hash_of(number) for id, number in self.visible.items()}
        waiting = {id for id, (number, _) in self.model.live.items() if not self.can_show(number)}
        if self.number != self.model.generation:  # one that came back with a rollback is seen by those only who followed it
            when, _ = self.model.published[self.number]
            waiting = {id for id in waiting if self.model.said[id][0] > when}
        assert self.searcher.pending == len(waiting)

    @invariant()
    def nothing_is_encoded_twice(self):
        for encoder in self.encoders:
            assert max(encoder.images.values(), default=1) == 1


def bare(number: int, bundle: int) -> int:
    """A number that stands for a bare vector: the one that this bundle would give to a picture."""
    return BARE_FROM + 10 * bundle + number


def bundle_of_bare(number: int) -> int:
    return (number - BARE_FROM) // 10


def vector_of(number: int, encoder: CountingEncoder):
    return encoder.vectors(TRANSFORM(picture(number))[None])[0]


def segments_of(file: Path) -> list[str]:
    return Generation.model_validate_json(file.read_bytes()).segments


Life.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_life = Life.TestCase
