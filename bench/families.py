"""Is an emoji found among drawings by other hands? Each style family is left out in turn.

Gallery: the drawings of all classes by the other families. Queries: the family's drawings of 200 test classes, or of as
many as it drew. Counted: is the right emoji among the first 5 hits? Run: python -m bench.families [BUNDLE] [DATA]
"""

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from model.bundle import load
from model.encoder import open_encoder
from training.datasets.check import decode
from training.datasets.labels import read

QUERY_CLASSES = 200
FIRST = (1, 5)


def main(bundle: Path, data: Path) -> None:
    dataset = read(data)
    encoder = open_encoder(load(bundle))
    with Progress() as progress:
        task = progress.add_task("Encoding", total=len(dataset))
        vectors = encoder.encode(decode(dataset, encoder.transform, lambda n: progress.advance(task, n))[0].pixels)
    labels, families = np.array(dataset.labels), np.array(dataset.column("family"))
    tests = np.array(dataset.column("split")) == "test"
    table = Table("family left out", "queries", *(f"among first {k}" for k in FIRST))
    found = []
    for family in sorted(set(families)):
        queries, gallery = _queries(labels, families == family, tests), families != family
        hits = _hits(vectors, labels, queries, gallery)
        found.append([float(hits[:, :k].any(axis=1).mean()) for k in FIRST])
        table.add_row(family, str(len(queries)), *(f"{share:.3f}" for share in found[-1]))
    table.add_section()
    table.add_row("mean", "", *(f"{share:.3f}" for share in np.mean(found, axis=0)))
    Console().print(table)


def _queries(labels: np.ndarray, drawn: np.ndarray, tests: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(drawn & tests)
    classes = np.unique(labels[rows])
    chosen = np.random.default_rng(0).permutation(classes)[:QUERY_CLASSES]
    return rows[np.isin(labels[rows], chosen)]


def _hits(vectors: np.ndarray, labels: np.ndarray, queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """bool [Q, max(FIRST)]: is that hit the query's emoji?"""
    rows = np.flatnonzero(gallery)
    scores = vectors[queries] @ vectors[rows].T
    best = np.argsort(-scores, axis=1, kind="stable")[:, : max(FIRST)]
    return labels[rows][best] == labels[queries][:, None]


if __name__ == "__main__":
    places = [Path(argument) for argument in sys.argv[1:]]
    main(*(places or [Path("demo/bundle"), Path("demo/emoji")]))
