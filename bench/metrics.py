"""What does an evaluation cost? All figures of 60,000 vectors of 512 dimensions, beside faiss's flat search alone and peers.

Made-up vectors in the shape of Stanford Online Products' test half: 11,316 classes of 2 to 12 images. Each contender runs in
a process of its own over the same arrays; all take turns, so that a slow minute of the machine falls on everybody.

open-metric-learning asks for numpy below 2 and so cannot be installed beside Lookalike; without its dependencies it runs:
pip install --no-deps open-metric-learning omegaconf antlr4-python3-runtime==4.9.3 gdown beautifulsoup4 soupsieve requests
urllib3 charset_normalizer pandas pytz tzdata validators. What cannot be run is named in the table.
Run: python -m bench.metrics [--rounds 3] [--images 60000] [--only NAME …]
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
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

CLASSES, IMAGES, DIM = 11_316, 60_000, 512


def make(folder: Path, images: int = IMAGES) -> None:
    random = np.random.default_rng(0)
    classes = CLASSES * images // IMAGES
    sizes = 2 + random.multinomial(images - 2 * classes, np.full(classes, 1 / classes))
    labels = np.repeat(np.arange(classes), sizes)
    centres = random.normal(size=(classes, DIM)).astype(np.float32)
    vectors = centres[labels] + 2.5 * random.normal(size=(images, DIM)).astype(np.float32)
    order = random.permutation(images)
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
    calculator = AccuracyCalculator(include=names, k="max_bin_count", device=torch.device("cpu"))  # all hits, by default
    found = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(labels))
    return {"recall@1": found["precision_at_1"], "map@r": found["mean_average_precision_at_r"], "mrr": found[names[3]]}


def open_metric_learning(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """open-metric-learning's chunked search and its metrics: CMC@1, 2, 4, 8, precision and MAP at the first 100 hits."""
    import torch
    from oml.functional.knn import batched_knn
    from oml.functional.metrics import calc_retrieval_metrics

    from model.neighbours import KEPT

    everything = torch.arange(len(labels))
    _, rows, right = batched_knn(torch.from_numpy(vectors), everything, everything, KEPT, labels_gt=torch.from_numpy(labels))
    options = {"cmc_top_k": (1, 2, 4, 8), "precision_top_k": (KEPT,), "map_top_k": (KEPT,), "verbose": False}
    return {"recall@1": float(calc_retrieval_metrics(rows, right, **options)["cmc"][1])}


CONTENDERS: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {
    "faiss flat search alone": flat_search,
    "lookalike": lookalike,
    "pytorch-metric-learning": metric_learning,
    "open-metric-learning": open_metric_learning,
}


def run(name: str, folder: Path) -> None:
    vectors, labels = np.load(folder / "vectors.npy"), np.load(folder / "labels.npy")
    started = time.monotonic()
    figures = CONTENDERS[name](vectors, labels)
    seconds = time.monotonic() - started
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "gigabytes": gigabytes, "figures": figures}))


def main(rounds: int, images: int, names: list[str]) -> None:
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), images)
        for _, name in product(range(rounds), names):
            if name not in failures:
                command = [sys.executable, "-m", "bench.metrics", "--run", name, folder]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    failures[name] = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
                else:
                    results[name].append(json.loads(done.stdout.splitlines()[-1]))
    table = Table("", "seconds", "least to most", "× flat search", "peak GB", "R@1", "MAP@R", "MRR")
    base = statistics.median(each["seconds"] for each in results[names[0]])
    for name, runs in results.items():
        if name in failures:
            table.add_row(name, "failed", failures[name])
            continue
        seconds = [each["seconds"] for each in runs]
        figures = [
            f"{runs[0]['figures'][key]:.6f}" if key in runs[0]["figures"] else "" for key in ("recall@1", "map@r", "mrr")
        ]
        spread, middle = f"{min(seconds):.1f} to {max(seconds):.1f}", statistics.median(seconds)
        peak = max(each["gigabytes"] for each in runs)
        table.add_row(name, f"{middle:.1f}", spread, f"{middle / base:.2f}", f"{peak:.2f}", *figures)
    Console(width=128).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--run", nargs=2, metavar=("NAME", "FOLDER"))
    asked = parser.parse_args()
    if asked.run:
        run(asked.run[0], Path(asked.run[1]))
    else:
        main(asked.rounds, asked.images, asked.only)
