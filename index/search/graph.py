"""Vectors in, a graph (HNSW) over codes of a byte a number out, on disk and mapped again.

A node's codes are its vector's numbers, scaled so that the greatest of all just fits a byte. To compare them is whole numbers
only, and no less right than with a scale for each dimension. Nodes lie in an order in which neighbours are side by side.

``index.faiss`` holds the links. ``codes.u8`` [N, D] stands beside it, for inside it codes would begin at any byte, and each
would lie in one more line of the cache than it needs. ``rows.i64`` [N] is the row of each node.
"""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from . import locality

CONSTRUCTION = 200  # effort of building: with half of it, searches of the same recall take a quarter longer
GREATEST = 127.0  # that a code stands for
INDEX, CODES, ROWS = "index.faiss", "codes.u8", "rows.i64"
_BLOCK = 50_000  # vectors that are added at a time


def build(graph: Any, vectors: np.ndarray) -> Any:
    """An empty graph of faiss, and float32 [N, D] → an index that finds their rows."""
    graph.hnsw.efConstruction = CONSTRUCTION
    greatest = max((float(np.abs(block).max()) for block in blocks(vectors)), default=0.0)
    scale = GREATEST / greatest if greatest else 1.0
    for block in blocks(vectors):
        graph.add(np.rint(block * scale))
    rows = locality.order(vectors)
    graph.permute_entries(rows)
    return _naming(graph, rows)


def write(folder: Path, index: Any) -> list[Path]:
    """What ``build`` made, into files of an existing folder."""
    known: Any = faiss
    graph = known.downcast_index(index.index)
    codes = known.downcast_index(graph.storage).codes
    known.write_index(graph, str(folder / INDEX), faiss.IO_FLAG_SKIP_STORAGE)
    faiss.rev_swig_ptr(codes.data(), codes.size()).tofile(folder / CODES)
    faiss.vector_to_array(index.id_map).tofile(folder / ROWS)
    return [folder / INDEX, folder / CODES, folder / ROWS]


def open(folder: Path, read: Any) -> Any:
    """What faiss read of the links → an index that finds rows. Raises ``OSError`` or ``RuntimeError`` where a file is missing
    or cut short."""
    if isinstance(read, faiss.IndexIDMap) or read.storage is not None:
        return read  # written when codes had no file of their own
    if (folder / CODES).stat().st_size != read.ntotal * read.d or (folder / ROWS).stat().st_size != 8 * read.ntotal:
        raise RuntimeError(f"{CODES} or {ROWS} was cut short")
    codes = np.memmap(folder / CODES, np.uint8, "r")
    known: Any = faiss
    storage = known.IndexScalarQuantizer(read.d, faiss.ScalarQuantizer.QT_8bit_direct_signed, read.metric_type)
    storage.codes = known.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes), codes.nbytes, storage.codes.owner)
    storage.ntotal = read.ntotal
    read.storage, read.own_fields = storage, False
    index = _naming(read, np.fromfile(folder / ROWS, np.int64))
    index.referenced_objects = [storage, codes]  # which it reads, and does not own
    return index


def _naming(graph: Any, rows: np.ndarray) -> Any:
    index: Any = faiss.IndexIDMap(faiss.IndexFlat(graph.d, graph.metric_type))  # it takes empty ones only
    graph.this.disown()
    index.index, index.own_fields, index.ntotal = graph, True, graph.ntotal
    faiss.copy_array_to_vector(rows, index.id_map)
    return index


def blocks(vectors: np.ndarray) -> list[np.ndarray]:
    """float32 [N, D] → parts of it, to be added to an index one after the other."""
    return [vectors[start : start + _BLOCK] for start in range(0, len(vectors), _BLOCK)]
