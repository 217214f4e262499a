"""Do the runtimes agree? Cosines with torch in float32 over 200 test images, and R@1 on all test classes.

Run: python -m bench.runtimes [BUNDLE] [DATA]
"""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from model.bundle import load
from model.encoder import Precision, Runtime, open_encoder
from training.datasets.check import decode
from training.datasets.labels import read
from training.evaluate import measure

SAMPLE = 200
KINDS: tuple[tuple[Runtime, Precision], ...] = (("torch", "f32"), ("openvino", "f32"), ("openvino", "bf16"))


def main(bundle: Path, data: Path) -> None:
    opened, test = load(bundle), read(data).split("test")
    pixels = decode(test, opened.manifest.transform)[0].pixels
    sample = slice(0, len(pixels), len(pixels) // SAMPLE)
    table = Table("runtime", "precision", "median cosine", "smallest cosine", "R@1")
    reference = None
    for runtime, precision in KINDS:
        vectors = open_encoder(opened, runtime, precision).encode(pixels)
        reference = vectors if reference is None else reference
        cosines = sorted((vectors[sample] * reference[sample]).sum(axis=1)[:SAMPLE])
        recall = measure(vectors, test.table).figures["recall@1"]
        table.add_row(runtime, precision, f"{cosines[SAMPLE // 2]:.6f}", f"{cosines[0]:.6f}", f"{recall:.4f}")
    Console().print(table)


if __name__ == "__main__":
    places = [Path(argument) for argument in sys.argv[1:]]
    main(*(places or [Path("demo/bundle"), Path("demo/emoji")]))
