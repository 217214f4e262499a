"""What does an evaluation cost? All figures of 60,000 vectors of 512 dimensions, beside faiss's flat search alone and peers.

Made-up vectors in the shape of Stanford Online Products' test half: 11,316 classes of 2 to 12 images. Each contender runs in
a process of its own over the same arrays; all take turns, so that a slow minute of the machine falls on everybody.
Run: python -m bench.metrics [--rounds 3] [--only NAME …]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

CLASSES, IMAGES, DIM = 11_316, 60_000, 512


def make(folder: Path) -> None:
    random = np.random.default_rng(0)
    sizes = 2 + random.multinomial(IMAGES - 2 * CLASSES, np.full(CLASSES, 1 / CLASSES))
    labels = np.repeat(np.arange(CLASSES), sizes)
    centres = random.normal(size=(CLASSES, DIM)).astype(np.float32)
    vectors = centres[labels] + 2.5 * random.normal(size=(IMAGES, DIM)).astype(np.float32)
    order = random.permutation(IMAGES)
    np.save(folder / "vectors.npy", (vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[order])
    np.save(folder / "labels.npy", labels[order])


def flat_search(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Nothing but the hits, as many as MAP@R and Lookalike's plots need."""
    import faiss

    from model.neighbours import KEPT

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    index.search(vectors, KEPT + 1)
    return {}


def lookalike(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    from model.metrics import scores
    from model.neighbours import nearest

    found = scores(nearest(vectors, labels), labels)
    found.intervals()
    return found.means()


def metric_learning(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """pytorch-metric-learning's AccuracyCalculator: precision@1, R-precision, MAP@R, MRR to the depth of the largest class."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r", "mean_reciprocal_rank")
    calculator = AccuracyCalculator(include=names, device=torch.device("cpu"))
    found = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(labels))
    return {"recall@1": found["precision_at_1"], "map@r": found["mean_average_precision_at_r"], "mrr": found[names[3]]}


def open_metric_learning(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """open-metric-learning's RetrievalResults and calc_retrieval_metrics_rr, over its own chunked search."""
    import torch
    from oml.functional.metrics import calc_retrieval_metrics_rr
    from oml.retrieval import RetrievalResults
    from oml.utils.misc_torch import PairwiseDistance  # noqa: F401  (its absence means another interface)

    raise NotImplementedError(torch, calc_retrieval_metrics_rr, RetrievalResults)


CONTENDERS: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {
    "faiss flat search alone": flat_search,
    "lookalike": lookalike,
    "pytorch-metric-learning": metric_learning,
}


def run(name: str, folder: Path) -> None:
    vectors, labels = np.load(folder / "vectors.npy"), np.load(folder / "labels.npy")
    started = time.monotonic()
    figures = CONTENDERS[name](vectors, labels)
    seconds = time.monotonic() - started
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "gigabytes": gigabytes, "figures": figures}))


def main(rounds: int, names: list[str]) -> None:
    results: dict[str, list[dict]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        for _ in range(rounds):
            for name in names:
                command = [sys.executable, "-m", "bench.metrics", "--run", name, folder]
                results[name].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    table = Table("", "seconds (median, least, most)", "× flat search", "peak GB", "R@1", "MAP@R", "MRR")
    base = statistics.median(each["seconds"] for each in results[names[0]])
    for name, runs in results.items():
        seconds = [each["seconds"] for each in runs]
        figures = [f"{runs[0]['figures'][key]:.6f}" if runs[0]["figures"] else "" for key in ("recall@1", "map@r", "mrr")]
        spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f}, {max(seconds):.1f})"
        peak = max(each["gigabytes"] for each in runs)
        table.add_row(name, spread, f"{statistics.median(seconds) / base:.2f}", f"{peak:.2f}", *figures)
    Console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--run", nargs=2, metavar=("NAME", "FOLDER"))
    asked = parser.parse_args()
    if asked.run:
        run(asked.run[0], Path(asked.run[1]))
    else:
        main(asked.rounds, asked.only)
