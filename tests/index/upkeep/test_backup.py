"""A backup is whole and of one moment, or it is not there; a restore is the backup, or what was there before."""

import errno
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from miniatures import Shop, content

from index.catalog import FILE, Upkeep
from index.job.keeping import keep_bundle
from index.upkeep import backup as backups
from index.upkeep import replacing
from index.upkeep.backup import BackupError, backup, restore
from index.upkeep.replacing import ReplacingError
from model import Failure
from model import bundle as bundles
from model.bundle import file_digest

KILLS = 12


@pytest.fixture
def kept(shop) -> Path:
    """A collection with two segments and an uploaded picture, and its backup."""
    shop.fill(range(20))
    shop.index()
    shop.fill([20])
    shop.index()
    with_catalog(shop, lambda catalog: shop.upload(catalog, "mine", 30))
    backup(shop.collection, shop.folder / "backup")
    return shop.folder / "backup"


def with_catalog(shop, work):
    catalog = shop.catalog()
    try:
        return work(catalog)
    finally:
        catalog.close()


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): file_digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def flip(path: Path, place: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 1
    path.write_bytes(data)


def beside(path: Path, pattern: str) -> list[Path]:
    return sorted(path.parent.glob(pattern))


# --- backup ---


def test_a_backup_is_a_collection_that_finds_the_same(shop, kept):
    before = shop.found(3)
    restored = restore(kept, shop.folder / "again")
    assert (restored.aside, restored.lost, restored.manifest.count) == (None, None, 22)
    shutil.rmtree(shop.collection)
    shop.collection = shop.folder / "again"
    assert shop.found(3) == before
    assert not (shop.collection / "backup.json").exists()
    assert (shop.collection / "blobs" / content(30)).is_file()


def test_every_file_is_listed_with_its_checksum(kept):
    manifest = backups.read(kept)
    assert {path: file.sha256 for path, file in manifest.files.items()} == {
        path: digest for path, digest in files(kept).items() if path != "backup.json"
    }
    assert all((kept / path).stat().st_size == file.size for path, file in manifest.files.items())
    assert (manifest.generation, manifest.numbers.change, manifest.count, manifest.missing) == (2, 1, 22, [])


def test_a_second_backup_links_what_is_there(shop, kept):
    first = {path: (kept / path).stat().st_ino for path in backups.read(kept).files}
    live = {path.stat().st_ino for path in shop.collection.rglob("*")}
    with_catalog(shop, lambda catalog: shop.upload(catalog, "more", 31))
    made = backup(shop.collection, kept)
    second = {path: (kept / path).stat().st_ino for path in backups.read(kept).files}
    same = {path for path in first if first[path] == second[path]}
    assert set(second) - same == {FILE, f"blobs/{content(31)}"}
    assert not live & set(second.values()), "a link into the collection is no copy of it"
    assert made.copied == sum((kept / path).stat().st_size for path in set(second) - same)
    assert made.linked == sum((kept / path).stat().st_size for path in same)
    assert beside(kept, ".backup*") == []


def test_where_nothing_can_be_linked_all_is_copied(shop, kept, monkeypatch):
    def refusing(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refusing)
    made = backup(shop.collection, kept)
    assert made.linked == 0
    assert made.copied == made.manifest.size
    restore(kept, shop.folder / "again")


def test_a_segment_of_another_history_is_not_taken_for_the_one_before(shop, kept):
    """After a restore without the old collection, numbers might come again."""
    other = next(path for path in backups.read(kept).files if path.endswith("vectors.f32"))
    flip(kept / other)  # another content under the same name, and the manifest knows
    manifest = backups.read(kept)
    manifest.files[other].sha256 = file_digest(kept / other)
    (kept / "backup.json").write_text(manifest.model_dump_json())
    backup(shop.collection, kept)
    assert file_digest(kept / other) == file_digest(shop.collection / other)


def test_while_everything_changes(shop):
    """Jobs publish and sweep, the service writes; each backup is of one moment."""
    shop.fill(range(30))
    shop.index()
    ended = threading.Event()

    def change() -> None:
        catalog, number = shop.catalog(), 100
        while not ended.is_set():
            number += 1
            shop.upload(catalog, f"live/{number}", 100 + number % 20)
            if number % 3 == 0:
                shop.fill([number])
                shop.index()
        catalog.close()

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for number in range(8):
            backup(shop.collection, shop.folder / "backup")
            to = shop.folder / f"again{number}"
            restored = restore(shop.folder / "backup", to)
            catalog = Upkeep(to)
            assert catalog.counted() == (restored.manifest.count,) * 2
            assert catalog.damage() == []
            shop_again = type(shop).__new__(type(shop))
            shop_again.__dict__ = shop.__dict__ | {"collection": to}
            assert len(shop_again.look(shop_again.searcher(catalog))) == restored.manifest.count
            assert all((to / "blobs" / content).is_file() for content in catalog.uploaded())
            catalog.close()
    finally:
        ended.set()
        changing.join()


def test_a_file_that_a_job_sweeps_meanwhile(shop, kept, monkeypatch):
    tries = []
    copied = backups._copied

    def sweeping(source, target, advance):
        if not tries:
            tries.append(source)
            shop.fill(range(40, 60))
            shop.index()
            shop.index()
            shop.fill(range(60, 90))
            shop.index()
            shop.fill([90])
            shop.index()
        return copied(source, target, advance)

    shutil.rmtree(kept)
    monkeypatch.setattr(backups, "_copied", sweeping)
    made = backup(shop.collection, kept)
    assert made.manifest.count == 73
    assert not tries[0].exists()
    restore(kept, shop.folder / "again")


def test_a_damaged_segment_does_not_replace_a_good_backup(shop, kept):
    before = files(kept)
    shop.fill([50])
    shop.index()
    flip(next((shop.collection / "segments").glob("00000003/vectors.f32")))
    with pytest.raises(BackupError, match=r"vectors\.f32 is damaged: its checksum is another one\. Run `lookalike verify"):
        backup(shop.collection, kept)
    assert files(kept) == before


def test_a_damaged_catalog_does_not_replace_a_good_backup(shop, kept):
    before = files(kept)
    with (shop.collection / FILE).open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)
    with pytest.raises(Failure):
        backup(shop.collection, kept)
    assert files(kept) == before


def test_an_uploaded_picture_that_is_lost_does_not_prevent_a_backup(shop, kept):
    (shop.collection / "blobs" / content(30)).unlink()
    assert backup(shop.collection, shop.folder / "other").manifest.missing == [f"blobs/{content(30)}"]


@pytest.mark.parametrize("links", [True, False])
def test_the_last_copy_of_an_uploaded_picture_does_not_go_with_the_backup_before(shop, kept, monkeypatch, links):
    def refusing(*_):
        raise OSError(95, "Operation not supported")

    if not links:
        monkeypatch.setattr(os, "link", refusing)
    (shop.collection / "blobs" / content(30)).unlink()
    for _ in range(2):
        assert backup(shop.collection, kept).manifest.missing == [f"blobs/{content(30)}"]
    restore(kept, shop.folder / "again")
    assert file_digest(shop.folder / "again" / "blobs" / content(30)) == content(30)


def test_what_rotted_in_the_backup_before_is_copied_again(shop, kept):
    rotten = next(kept.rglob("vectors.f32"))
    flip(rotten)
    backup(shop.collection, kept)
    restore(kept, shop.folder / "again")


@pytest.mark.parametrize("place", ["vector", "row"])
def test_a_bit_of_the_catalog_that_flipped_does_not_replace_a_good_backup(shop, kept, place):
    """In the middle of a page that is otherwise whole, so SQLite itself sees nothing."""
    before, connection = files(kept), sqlite3.connect(shop.collection / FILE)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ((vector,),) = connection.execute("SELECT vector FROM vectors WHERE rowid = 7").fetchall()
    connection.close()
    data = (shop.collection / FILE).read_bytes()
    row = b"7.png" + str(shop.gallery).encode()
    flip(
        shop.collection / FILE,
        data.index(vector) + 20 if place == "vector" else data.index(row + content(7).encode()) + len(row),
    )
    with pytest.raises(BackupError, match=rf"The catalog is damaged \(the {place} of .*The backup before is as it was"):
        backup(shop.collection, kept)
    assert files(kept) == before


def test_nothing_but_the_backup_before_is_replaced(shop, kept, tmp_path_factory):
    before = files(kept)
    other = Shop(tmp_path_factory.mktemp("other"))
    other.index()
    with pytest.raises(BackupError, match="is the backup of another collection, "):
        backup(other.collection, kept)
    assert files(kept) == before
    (kept / "notes.txt").write_text("")
    with pytest.raises(BackupError, match=r"holds notes\.txt, which is no part of a backup"):
        backup(shop.collection, kept)
    assert (kept / "notes.txt").exists()


def test_what_comes_to_the_place_meanwhile_stays(shop, kept):
    def coming(done: int, total: int) -> None:
        (kept / "notes.txt").write_text("")

    shop.fill([50])
    shop.index()
    with pytest.raises(BackupError, match=r"holds notes\.txt"):
        backup(shop.collection, kept, coming)
    assert (kept / "notes.txt").exists()


def test_another_calibration_that_is_published_meanwhile_is_no_damage(shop, kept, monkeypatch):
    copied, once = backups._copied, []

    def calibrating(source, target, advance):
        if not once:
            once.append(source)
            (shop.bundle.path / "metrics.json").write_text("{}")
            bundles.seal(shop.bundle.path, shop.bundle.manifest)
            keep_bundle(bundles.load(shop.bundle.path), shop.collection.resolve())
        return copied(source, target, advance)

    shutil.rmtree(kept)
    monkeypatch.setattr(backups, "_copied", calibrating)
    assert any(path.endswith("metrics.json") for path in backup(shop.collection, kept).manifest.files)
    restore(kept, shop.folder / "again")


@pytest.mark.parametrize("what", ["read", "digest"])
def test_a_generation_that_is_swept_before_it_is_read(shop, kept, monkeypatch, what):
    module, name = (backups.generations, "read") if what == "read" else (backups, "file_digest")
    asked, once = getattr(module, name), []

    def sweeping(*args):
        path = shop.collection / "generations" / "1.json"
        if not once and (what == "read" or args[0] == path.resolve()):
            once.append(1)
            path.unlink()
        return asked(*args)

    monkeypatch.setattr(module, name, sweeping)
    assert backup(shop.collection, kept).manifest.count == 22
    assert once
    assert not (kept / "generations" / "1.json").exists()


def test_a_collection_that_cannot_be_written_is_copied_too(shop, kept, monkeypatch):
    """The folder of a root user always can, so the answer of the system is changed."""
    with_catalog(shop, lambda catalog: catalog.count())
    connect, uris = sqlite3.connect, []
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != shop.collection and access(path, mode))
    monkeypatch.setattr(sqlite3, "connect", lambda name, *args, **how: uris.append(str(name)) or connect(name, *args, **how))
    names = sorted(path.name for path in shop.collection.iterdir())
    backup(shop.collection, shop.folder / "other")
    assert sorted(path.name for path in shop.collection.iterdir()) == names
    assert all("immutable=1" in uri for uri in uris if f"{shop.collection}/" in uri)
    restore(shop.folder / "other", shop.folder / "again")


def test_where_a_disk_is_mounted(shop, kept, monkeypatch):
    """Nothing can be mounted in a test, so the system's answers are changed."""
    before = files(shop.collection)
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "ismount", lambda path: True)
        for work in (lambda: backup(shop.collection, kept), lambda: restore(kept, shop.folder / "again")):
            with pytest.raises(ReplacingError, match=r"Something is mounted at .* Give a folder in it"):
                work()
    assert beside(kept, ".*") == []

    def busy(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(replacing, "exchange", busy)
    with pytest.raises(ReplacingError, match="Something is mounted"):
        restore(kept, shop.collection, replace=True)
    assert beside(shop.collection, "*before*") == [], "the copy would be taken for the old collection"
    assert files(shop.collection) == before


def test_a_lock_that_another_process_removed_and_made_anew(shop, monkeypatch):
    place, opened, inside = shop.folder / "place", os.open, []

    def slowly(path, *args, **options):
        handle = opened(path, *args, **options)
        if str(path).endswith(".place.draft") and not inside:
            inside.append(None)
            with replacing.drafted(place):  # begins and ends between this one's open and its lock
                pass
            inside[0] = replacing.drafted(place)
            (inside[0].__enter__() / "precious").write_text("")
        return handle

    monkeypatch.setattr(os, "open", slowly)
    with pytest.raises(ReplacingError, match="Another process is writing"), replacing.drafted(place):
        pass
    assert list((shop.folder / ".place.draft").rglob("precious"))
    inside[0].__exit__(None, None, None)


def test_places_that_cannot_be(shop, kept):
    with pytest.raises(BackupError, match="lie in each other"):
        backup(shop.collection, shop.collection / "backup")
    with pytest.raises(BackupError, match="holds something that is no backup"):
        backup(shop.collection, shop.gallery)
    (shop.folder / "file").write_text("")
    with pytest.raises(BackupError, match="is no folder"):
        backup(shop.collection, shop.folder / "file")
    with pytest.raises(Failure, match="holds no collection yet"):
        backup(shop.gallery, shop.folder / "other")
    with replacing.drafted(kept), pytest.raises(ReplacingError, match="Another process is writing"):
        backup(shop.collection, kept)


def test_too_little_room_is_told_before(shop, kept, monkeypatch):
    before = files(kept)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    for work in (lambda: backup(shop.collection, kept), lambda: restore(kept, shop.folder / "again")):
        with pytest.raises(BackupError, match=r"has 0\.00 GB left, and 0\.00 GB are needed\. Make room"):
            work()
    assert files(kept) == before
    assert not (shop.folder / "again").exists()


def test_a_disk_that_fills_up(shop, kept):
    """A limit on the size of a file stands in for a disk that is full: whatever reaches it fails as on one."""
    before = files(kept)
    shop.fill([50])
    shop.index()
    largest = max(path.stat().st_size for path in shop.collection.rglob("*") if path.is_file())
    for limit in (0, 500, 5_000, largest - 1):
        with pytest.raises(Failure, match="full"):
            limited(limit, lambda: backup(shop.collection, kept))
        with pytest.raises(Failure, match="full"):
            limited(limit, lambda: restore(kept, shop.folder / "again"))
        assert files(kept) == before
        assert not (shop.folder / "again").exists()
        assert beside(kept, ".*") == []
    backup(shop.collection, kept)


def limited(size: int, work) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        work()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- restore ---


def test_a_restore_does_not_touch_what_is_there(shop, kept):
    before = files(shop.collection)
    with pytest.raises(BackupError, match="exists and is not empty"):
        restore(kept, shop.collection)
    assert files(shop.collection) == before


def test_with_replace_the_old_one_is_set_aside_and_what_came_after_is_told(shop, kept):
    shop.fill([40, 41])
    shop.index()
    with_catalog(shop, lambda catalog: (shop.upload(catalog, "late", 32), catalog.delete("3.png")))
    old = shop.found()
    restored = restore(kept, shop.collection, replace=True)
    assert restored.lost == {
        "jobs": [{"number": 3, "origin": str(shop.gallery), "state": "published"}],
        "changes": 2,
        "changed_ids": ["3.png", "late"],
        "items": 3,
        "item_ids": ["40.png", "41.png", "late"],
    }
    assert "3.png" in shop.found()
    assert "late" not in shop.found()
    again = type(shop).__new__(type(shop))
    again.__dict__ = shop.__dict__ | {"collection": restored.aside}
    assert again.found() == old
    assert restored.aside.name.startswith("collection.before-")


def test_the_copy_is_on_disk_before_it_has_a_name_of_an_old_collection(shop, kept, monkeypatch):
    flush, seen, aside = replacing.flush, [], shop.folder / "collection.before"
    monkeypatch.setattr(replacing, "flush", lambda folder: (seen.append(aside.exists()), flush(folder)))
    monkeypatch.setattr(backups.replacing, "kept_name", lambda place: aside)
    draft = shop.folder / ".draft"
    shutil.copytree(kept, draft)
    backups._set_aside(draft, shop.collection)
    assert seen == [False, True]


def test_a_collection_that_comes_to_the_place_meanwhile_stays(shop, kept):
    shutil.rmtree(shop.collection)

    def coming(done: int, total: int) -> None:
        if not shop.collection.exists():
            shop.index()
            with_catalog(shop, lambda catalog: shop.upload(catalog, "acknowledged", 31))

    with pytest.raises(BackupError, match="Something came to"):
        restore(kept, shop.collection, advance=coming)
    assert "acknowledged" in shop.found()
    assert (shop.collection / "blobs" / content(31)).is_file()


def test_another_collection_that_is_replaced_is_lost_as_a_whole(shop, kept):
    late = with_catalog(shop, lambda catalog: shop.upload(catalog, "late", 32).key)
    shutil.rmtree(shop.collection)
    shop.index()
    with_catalog(shop, lambda catalog: shop.upload(catalog, "precious", 31))
    lost = restore(kept, shop.collection, replace=True).lost
    assert (lost["items"], lost["changed_ids"], len(lost["jobs"])) == (22, ["precious"], 1)
    assert with_catalog(shop, lambda catalog: shop.upload(catalog, "another", 33).key) > late


def test_a_backup_that_is_replaced_while_it_is_restored(shop, kept, monkeypatch):
    with_catalog(shop, lambda catalog: shop.upload(catalog, "more", 31))
    copied, once = backups._copied, []

    def replaced(*args):
        if not once:
            once.append(1)
            backup(shop.collection, kept)
        return copied(*args)

    monkeypatch.setattr(backups, "_copied", replaced)
    with pytest.raises(BackupError, match=r"was replaced by a newer backup meanwhile\. Run again\."):
        restore(kept, shop.folder / "again")


def test_no_number_is_given_out_twice(shop, kept):
    shop.fill([40])
    shop.index()
    key = with_catalog(shop, lambda catalog: shop.upload(catalog, "late", 32).key)
    before = with_catalog(shop, lambda catalog: catalog.numbers())
    restore(kept, shop.collection, replace=True)
    assert with_catalog(shop, lambda catalog: shop.upload(catalog, "new", 33).key) == key + 1
    assert shop.index().generation == before.job + 1
    shop.collection = shop.folder / "elsewhere"
    restore(kept, shop.collection)
    assert with_catalog(shop, lambda catalog: shop.upload(catalog, "new", 33).key) > 1_000_000


def test_a_new_catalog_goes_on_above_too(tmp_path):
    catalog = Upkeep(tmp_path, create=True)
    catalog.go_on_above(catalog.numbers().far_above())
    assert catalog.numbers().change == 1_000_000
    catalog.close()


def test_an_old_catalog_that_cannot_be_read(shop, kept):
    (shop.collection / FILE).write_bytes(b"no database" * 1000)
    restored = restore(kept, shop.collection, replace=True)
    assert restored.lost is None
    assert "file is not a database" in restored.unreadable
    assert len(shop.found()) == 22


def test_not_while_a_job_runs(shop, kept):
    with backups.only_job(shop.collection), pytest.raises(Failure, match="Another job is working"):
        restore(kept, shop.collection, replace=True)


@pytest.mark.parametrize("name", ["vectors.f32", "bundle.json", FILE, content(30)])
@pytest.mark.parametrize("harm", ["flipped", "cut", "missing"])
def test_a_backup_that_is_not_whole(shop, kept, name, harm):
    path = next(path for path in sorted(kept.rglob(name)))
    if harm == "flipped":
        flip(path)
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    before = files(shop.collection)
    with pytest.raises(BackupError, match=r"is no whole backup: .* Use another one\."):
        restore(kept, shop.collection, replace=True)
    assert files(shop.collection) == before
    assert beside(shop.collection, "*.before-*") == []


@pytest.mark.parametrize("said", ["", "{}", "{", '{"format": 9}'])
def test_a_manifest_that_cannot_be_read(shop, kept, said):
    (kept / "backup.json").write_text(said)
    with pytest.raises(BackupError, match=r"backup\.json cannot be read"):
        restore(kept, shop.folder / "again")
    backup(shop.collection, kept)
    restore(kept, shop.folder / "again")


def test_a_folder_that_is_no_backup(shop):
    with pytest.raises(BackupError, match=r"it has no backup\.json"):
        restore(shop.gallery, shop.folder / "again")


@pytest.mark.parametrize("name", [".", "catalog.sqlite/x", "./catalog.sqlite", None])
def test_a_manifest_of_names_that_cannot_be(shop, kept, name):
    manifest = backups.read(kept)
    if name is None:
        del manifest.files[FILE]
    else:
        manifest.files[name] = manifest.files[FILE]
    (kept / "backup.json").write_text(manifest.model_dump_json())
    with pytest.raises(BackupError, match="is no whole backup"):
        restore(kept, shop.folder / "again")


def test_a_manifest_that_leads_out(shop, kept):
    text = (kept / "backup.json").read_text().replace('"catalog.sqlite"', '"../../outside"')
    (kept / "backup.json").write_text(text)
    with pytest.raises(BackupError, match="which lies outside"):
        restore(kept, shop.folder / "again")


def test_a_file_system_that_cannot_exchange(shop, kept, monkeypatch):
    """Three renames; whoever dies between them is put right by the next."""

    class Old:
        renameat2 = staticmethod(lambda *_: -1)
        syncfs = staticmethod(lambda _: 0)

    monkeypatch.setattr(replacing, "_system", Old)
    monkeypatch.setattr(replacing.ctypes, "get_errno", lambda: 22)
    backup(shop.collection, kept)
    assert restore(kept, shop.collection, replace=True).aside.is_dir()
    kept.rename(kept.with_name(".backup.aside"))  # died after the first rename
    backup(shop.collection, kept)
    assert beside(kept, ".backup*") == []
    restore(kept, shop.folder / "again")
    for name in ("backup", "collection"):  # died before the third rename
        shutil.copytree(shop.folder / name, shop.folder / f".{name}.aside")
    backup(shop.collection, kept)
    assert [path.name for path in beside(kept, ".backup*")] == []
    assert backups.read(*beside(kept, "backup.before-*")).count == 22
    restore(kept, shop.collection, replace=True)
    assert beside(kept, ".collection*") == []
    assert len(beside(kept, "collection.before-*")) == 3


# --- killed ---

_WORK = """
import sys
from pathlib import Path
from index.upkeep.backup import backup, restore
print("begun", flush=True)
if sys.argv[1] == "backup":
    backup(Path(sys.argv[2]), Path(sys.argv[3]))
else:
    restore(Path(sys.argv[2]), Path(sys.argv[3]), replace=True)
"""


def killed(what: str, source: Path, to: Path, after: float) -> bool:
    process = subprocess.Popen([sys.executable, "-c", _WORK, what, str(source), str(to)], stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def duration(what: str, source: Path, to: Path) -> float:
    started = time.monotonic()
    backup(source, to) if what == "backup" else restore(source, to, replace=True)
    return time.monotonic() - started


def test_a_backup_that_is_killed_leaves_one_that_is_whole(shop, kept):
    chance, hit = random.Random(1), 0
    takes = duration("backup", shop.collection, kept)
    for number in range(KILLS):
        shop.fill([100 + number])
        shop.index()
        hit += killed("backup", shop.collection, kept, chance.random() * takes)
        restored = restore(kept, shop.folder / f"again{number}")
        assert 22 <= restored.manifest.count <= 23 + number
    assert hit > 0
    assert backup(shop.collection, kept).manifest.count == 22 + KILLS
    assert beside(kept, ".backup*") == []


def test_a_restore_that_is_killed_leaves_the_old_or_the_new(shop, kept):
    with_catalog(shop, lambda catalog: shop.upload(catalog, "late", 32))
    chance, hit = random.Random(2), 0
    spare = shop.folder / "spare"
    shutil.copytree(shop.collection, spare)
    takes = duration("restore", kept, spare)
    for _ in range(KILLS):
        hit += killed("restore", kept, shop.collection, chance.random() * takes)
        assert len(shop.found()) in (22, 23)
        sets = [shop.collection, *beside(shop.collection, "collection.before-*")]
        assert any("late" in with_catalog_at(folder) for folder in sets), "the old collection is lost"
    assert hit > 0
    restore(kept, shop.collection, replace=True)
    assert "late" not in shop.found()


def with_catalog_at(folder: Path) -> dict:
    catalog = Upkeep(folder)
    try:
        return catalog.find(["late"])
    finally:
        catalog.close()
