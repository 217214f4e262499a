"""Who is compared: ours, faiss as it is, hnswlib, usearch. All graphs are built with the same effort, on one thread.

A contender builds its index of vectors float32 [N, D] into a file once; opened, it answers a query and an effort with rows.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index.search import approximate, columns, planner
from index.search.approximate import K
from index.search.graph import CONSTRUCTION
from index.search.planner import Aim
from index.search.segment import Segment

WIDTHS = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024)
CELLS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
SMALL = 60  # bytes a vector, of an index that is to be small

Search = Callable[..., np.ndarray]  # query and effort → rows


@dataclass
class Contender:
    """``build`` writes a file, or several into a folder of that name; ``keeps``: whether these hold the vectors themselves
    too."""

    name: str
    build: Callable[[np.ndarray, Path], None]
    open: Callable[[np.ndarray, Path], Search]
    efforts: tuple[int, ...] = WIDTHS
    keeps: bool = True
    seconds: float = 0.0
    bytes: int = 0
    recall: dict[str, list[float]] = field(default_factory=dict)  # by kind of query, an effort each
    times: dict[str, list[list[float]]] = field(default_factory=dict)  # ratios to exact search: turns, efforts

    def built(self, vectors: np.ndarray, folder: Path) -> Path:
        """Where it lies, made where it is not there yet; known then: ``seconds`` of a core, ``bytes`` beside the vectors."""
        file = folder / "".join(sign if sign.isalnum() else "-" for sign in self.name)
        took = file.with_suffix(".seconds")
        if not took.exists():
            draft = file.with_suffix(".tmp")
            began = time.process_time()  # of one core, whatever else runs on it
            self.build(vectors, draft)
            draft.rename(file)
            took.write_text(f"{time.process_time() - began:.1f}")
        self.seconds = float(took.read_text())
        files = file.iterdir() if file.is_dir() else [file]
        self.bytes = sum(each.stat().st_size for each in files) - (vectors.nbytes if self.keeps else 0)
        return file

    def at(self, kind: str, target: float) -> tuple[int, float] | None:
        """The least effort that has the recall, and how many times as quick as exact search it is."""
        places = [place for place, recall in enumerate(self.recall[kind]) if recall >= target]
        if not places:
            return None
        speeds = np.median(self.times[kind], axis=0)
        return self.efforts[places[0]], float(speeds[places[0]])


def contenders(count: int, dim: int) -> Iterator[Contender]:
    small = Aim(0.95, SMALL * count)
    for aim in (Aim(0.95), Aim(0.99), small):
        plan = planner.plan(count, dim, aim)
        efforts = WIDTHS if plan.factory.startswith("HNSW") else CELLS
        yield Contender(f"ours, {plan.factory}", _build_ours(plan), _open_ours, efforts, keeps=False)
    yield Contender("faiss HNSW32", _build_faiss("HNSW32,Flat"), _open_faiss)
    refined = f"{planner.plan(count, dim, small).factory},RFlat"
    yield Contender("faiss IVF, re-ranked", _build_faiss(refined), _open_faiss, CELLS)
    for links in (16, 32):
        yield Contender(f"hnswlib, M = {links}", _build_hnswlib(links), _open_hnswlib)
    for kind in ("f32", "i8"):
        yield Contender(f"usearch, {kind}", _build_usearch(kind), _open_usearch, keeps=kind == "f32")


# --- ours ---


def _build_ours(plan: planner.Plan) -> Callable[[np.ndarray, Path], None]:
    def build(vectors: np.ndarray, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        approximate.write(folder, approximate.build(vectors, plan))

    return build


def _open_ours(vectors: np.ndarray, folder: Path) -> Search:
    index = approximate.open(folder, vectors, 1)
    segment = Segment(np.arange(len(vectors)), vectors, lambda: columns.from_metadata([]), "", index)
    return lambda query, effort: segment.search(query, K, effort=effort)[0]


# --- others ---


def _build_faiss(factory: str) -> Callable[[np.ndarray, Path], None]:
    def build(vectors: np.ndarray, file: Path) -> None:
        index: Any = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not isinstance(index, faiss.IndexRefine):
            index.hnsw.efConstruction = CONSTRUCTION
        index.train(vectors[:: max(1, len(vectors) // 262_144)])
        index.add(vectors)
        faiss.write_index(index, str(file))

    return build


def _open_faiss(vectors: np.ndarray, file: Path) -> Search:
    index: Any = faiss.read_index(str(file))
    of: Any = faiss

    def search(query: np.ndarray, effort: int) -> np.ndarray:
        if isinstance(index, faiss.IndexRefine):
            inner = of.SearchParametersIVF(nprobe=effort)
            chosen = of.IndexRefineSearchParameters(k_factor=max(8, effort / 5), base_index_params=inner)
        else:
            chosen = of.SearchParametersHNSW(efSearch=effort)
        return index.search(query[None], K, params=chosen)[1][0]

    return search


def _build_hnswlib(links: int) -> Callable[[np.ndarray, Path], None]:
    def build(vectors: np.ndarray, file: Path) -> None:
        import hnswlib

        index = hnswlib.Index("ip", vectors.shape[1])
        index.init_index(len(vectors), ef_construction=CONSTRUCTION, M=links)
        index.add_items(vectors, num_threads=1)
        index.save_index(str(file))

    return build


def _open_hnswlib(vectors: np.ndarray, file: Path) -> Search:
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.load_index(str(file))
    index.set_num_threads(1)

    def search(query: np.ndarray, effort: int) -> np.ndarray:
        index.set_ef(effort)
        return index.knn_query(query, k=K, num_threads=1)[0][0].astype(np.int64)

    return search


def _build_usearch(kind: str) -> Callable[[np.ndarray, Path], None]:
    def build(vectors: np.ndarray, file: Path) -> None:
        from usearch.index import Index

        index: Any = Index(ndim=vectors.shape[1], metric="ip", dtype=kind, connectivity=16, expansion_add=CONSTRUCTION)
        index.add(np.arange(len(vectors)), vectors, threads=1)
        index.save(str(file))

    return build


def _open_usearch(vectors: np.ndarray, file: Path) -> Search:
    from usearch.index import Index

    index: Any = Index.restore(str(file), view=False)

    def search(query: np.ndarray, effort: int) -> np.ndarray:
        index.expansion_search = effort
        return index.search(query, K, threads=1).keys.astype(np.int64)

    return search
