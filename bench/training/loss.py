"""What does SoftTriple cost? ``bench.loss`` measures; here its figures are kept."""

from collections.abc import Iterator
from functools import partial

from bench import loss

from .cells import Asked, Cell, Figures, Row

_ROUNDS = 7


def measure(rounds: int) -> Figures:
    found = loss.measure(rounds)
    flat = {"exponent, K = {centers}".format(**each): each["exponent_of_least"] for each in found["growth"]}
    memory, regulariser = found["memory"], found["regulariser"]
    return flat | {
        "step GB": memory["step"]["gigabytes"],
        "step GB, memory kept": memory["step_of_training"]["gigabytes"],
        "regulariser, times quicker": regulariser["times_quicker"]["median"],
        "all": found,
    }


def cells(asked: Asked, seed: int) -> Iterator[Cell]:
    rounds = 1 if asked.tiny else _ROUNDS
    yield Cell("SoftTriple", seed, {"rounds": rounds}, partial(measure, rounds))


_COLUMNS = ("step GB", "step GB, memory kept", "exponent, K = 2", "exponent, K = 10", "regulariser, times quicker")
ROWS = (Row("loss", "What does SoftTriple cost?", cells, {name: name for name in _COLUMNS}),)
