"""What looking after a collection takes: ``python -m bench.upkeep COUNT FOLDER``; one JSON line for each of its works.

COUNT items of 128 dimensions at random, without pictures. While the first backup is made, items are put one after the other.
"""

import json
import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from index.catalog import Catalog, NewItem, batched
from index.job.keeping import keep_bundle, lay_out
from index.lifecycle.publish import publish
from index.search.planner import Aim
from index.upkeep import transfer
from index.upkeep.backup import backup, restore
from index.upkeep.verify import verify
from model import bundle as bundles
from model.bundle import Architecture, Bundle, Manifest
from model.encoder import Precision
from model.transform import Transform

DIM = 128
_BATCH = 5_000  # items a commit
_EXACT = Aim(recall=1.0)


class _Encoder:
    """What a generation notes of an encoder; nothing is encoded here."""

    runtime, dim, transform = "none", DIM, Transform(size=32)
    precision: Precision = "f32"

    def __init__(self, bundle: Bundle) -> None:
        self.fingerprint = bundle.fingerprint

    def encode(self, images: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def _bundle(folder: Path) -> Bundle:
    tensors = {"weight": np.zeros(1, np.float32)}
    architecture, transform = Architecture(dim=DIM), Transform(size=32)
    fingerprint = bundles.fingerprint(tensors, architecture, transform)
    with bundles.writing(folder) as draft:
        save_file(tensors, draft / "weights.safetensors")
        about = {"fingerprint": fingerprint, "architecture": architecture, "transform": transform}
        bundles.seal(draft, Manifest(name="bench", origin="a bench", **about))
    return bundles.load(folder)


def _fill(place: Path, count: int, bundle: Bundle) -> None:
    lay_out(place)
    keep_bundle(bundle, place)
    chance = np.random.default_rng(0)
    with closing(Catalog(place, create=True)) as catalog:
        job = catalog.begin("bench", place, bundle.fingerprint)
        for rows in batched(range(count), _BATCH):
            items = [_item(row) for row in rows]
            vectors = dict(zip((item.content for item in items), _unit(chance, len(rows)), strict=True))
            catalog.stage(job, catalog.look_up([]), items=items, vectors=vectors)
        publish(catalog, place, job, _Encoder(bundle), bundles.file_digest(bundle.path / "bundle.json"), _EXACT)


def _item(row: int) -> NewItem:
    return NewItem(f"{row % 1000:03d}/{row}.jpg", f"{row:064x}", {"price": row % 997, "kind": f"k{row % 40}"}, 40_000, 0)


def _unit(chance: np.random.Generator, count: int) -> np.ndarray:
    vectors = chance.normal(size=(count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class _Writes:
    """Items that the service puts meanwhile, and how long each of them took."""

    def __init__(self, place: Path, fingerprint: str) -> None:
        self.place, self.fingerprint, self.seconds = place, fingerprint, list[float]()
        self._ended, self._thread = threading.Event(), threading.Thread(target=self._put)

    def __enter__(self) -> "_Writes":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()

    def _put(self) -> None:
        vector = _unit(np.random.default_rng(1), 1)[0]
        with closing(Catalog(self.place)) as catalog:
            while not self._ended.wait(0.01):
                started = time.perf_counter()
                catalog.put(NewItem(f"live/{len(self.seconds)}", f"vector:{'f' * 64}", {}, 1, 1), self.fingerprint, vector)
                self.seconds.append(time.perf_counter() - started)

    def figures(self) -> dict[str, Any]:
        milliseconds = np.array(self.seconds) * 1000
        return {"puts": len(milliseconds), "put_ms_median": float(np.median(milliseconds)), "put_ms_most": milliseconds.max()}


def measure(what: str, count: int, folder: Path) -> dict[str, Any]:
    bundle, place, copy = bundles.load(folder / "bundle"), folder / "collection", folder / "backup"
    if what == "backup while items are put":
        with _Writes(place, bundle.fingerprint) as writes:
            made = backup(place, copy)
        return {"copied": made.copied, **writes.figures()}
    if what == "a second backup":
        made = backup(place, copy)
        return {"copied": made.copied, "linked": made.linked}
    if what == "restore":
        return {"count": restore(copy, folder / "restored").manifest.count}
    if what == "verify":
        verdict = verify(folder / "restored")
        return {"findings": len(verdict.findings), "items": verdict.items}
    if what == "export":
        return {"bytes": transfer.export(folder / "restored", folder / "items.parquet").bytes}
    taken = transfer.take_in(folder / "items.parquet", folder / "imported", bundle, _Encoder(bundle), aim=_EXACT)
    return {"added": taken.added}


WORKS = ("backup while items are put", "a second backup", "restore", "verify", "export", "import")


def main() -> None:
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) == 4:
        started, what = time.perf_counter(), sys.argv[3]
        found = measure(what, count, folder)
        status = Path("/proc/self/status").read_text()  # what getrusage tells begins with the parent's
        most = int(status.split("VmHWM:")[1].split()[0]) / 1024
        print(json.dumps({"what": what, "seconds": time.perf_counter() - started, "memory_mb": most} | found), flush=True)
        return
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()
    _fill(folder / "collection", count, _bundle(folder / "bundle"))
    size = (folder / "collection" / "catalog.sqlite").stat().st_size
    print(json.dumps({"what": "made", "seconds": time.perf_counter() - started, "catalog": size}), flush=True)
    for what in WORKS:  # each in a process of its own, for its memory
        subprocess.run([sys.executable, "-m", "bench.upkeep", str(count), str(folder), what], check=True)


if __name__ == "__main__":
    main()
