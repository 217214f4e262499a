"""Is a confidence what it says? First 10 hits on the emoji's test classes, in galleries of 500, of 2,000, and of all.

Half of the questions have no right answer: the drawings' own classes taken out, and photographs (bench.data.objects), which
no emoji answers, in the place of as many of them as there are. Small galleries are drawn eight times, by whole classes.
Writes docs/calibration.png. Run: python -m bench.calibration [BUNDLE] [DATA] [PHOTOGRAPHS]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bench.data import objects
from model import confidence
from model.bundle import load
from model.encoder import open_encoder
from model.neighbours import nearest
from training.calibrate import Reliability, reliability, some_classes
from training.datasets.check import decode
from training.datasets.labels import read
from training.plots import COLOURS, calibration

SIZES = (500, 2000, None)
DRAWS = 8
UNRELATED = 0.1  # of the questions without an answer, at most


def main(bundle: Path, data: Path, photographs: Path) -> None:
    opened, test = load(bundle), read(data).split("test")
    found, encoder = confidence.load(opened), open_encoder(opened)
    if found is None:
        sys.exit(f"{bundle} is not calibrated. Train it again.")
    objects.write(photographs)
    photos = read(photographs)
    vectors, others = (encoder.encode(decode(each, encoder.transform)[0].pixels) for each in (test, photos))
    others = others[np.array(photos.roles) == "query"]
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.add_subplot()
    table = Table("gallery", "questions", "right hits", "ECE", "Brier", "Brier of a constant")
    for size, colour in zip(SIZES, COLOURS, strict=True):
        trust = _asked(found, vectors, np.array(test.labels), others, size)
        figures = trust.figures()
        name = f"{len(test):,}" if size is None else f"{size:,} × {DRAWS}"
        values = [f"{figures[key]:.4f}" for key in ("ece", "brier", "brier_of_constant")]
        table.add_row(name, f"{len(trust.right) // 10:,}", f"{trust.right.mean():.3f}", *values)
        calibration(axes, trust, name, colour)
    Console().print(table)
    figure.savefig("docs/calibration.png", dpi=110)
    for who, share in _told(found, vectors, np.array(test.labels), others).items():
        print(f"told that nothing similar is here, of {who}: {share:.1%}")


def _asked(
    found: confidence.Calibration, vectors: np.ndarray, labels: np.ndarray, others: np.ndarray, size: int | None
) -> Reliability:
    random, rows, parts = np.random.default_rng(0), np.arange(len(vectors)), []
    for _ in range(DRAWS if size else 1):
        gallery = some_classes(rows, labels, size, random) if size else rows
        count = min(len(others), int(UNRELATED * len(gallery)))
        parts.append(reliability(found, vectors, labels, gallery, others[random.permutation(len(others))[:count]]))
    return Reliability(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("confidence", "right")))


def _told(found: confidence.Calibration, vectors: np.ndarray, labels: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """To how many the service would say that nothing similar is here, in the gallery of all."""
    answered, unanswered = nearest(vectors, labels), nearest(vectors, labels, masks=labels)
    space = np.concatenate([vectors, others])
    rows = np.arange(len(space))
    unrelated = nearest(space, rows, queries=rows[len(vectors) :], gallery=rows[: len(vectors)])
    firsts = {
        "drawings whose first hit is right": answered.scores[answered.right[:, 0], 0],
        "drawings whose first hit is wrong": answered.scores[~answered.right[:, 0], 0],
        "drawings of an emoji that is not there": unanswered.scores[:, 0],
        "photographs": unrelated.scores[:, 0],
    }
    likely = {who: found.confidence(scores, len(vectors)) for who, scores in firsts.items()}
    return {who: float((values < confidence.UNLIKELY).mean()) for who, values in likely.items()}


if __name__ == "__main__":
    places = [Path(argument) for argument in sys.argv[1:]]
    main(*(places or [Path("demo/bundle"), Path("demo/emoji"), Path("build/objects")]))
