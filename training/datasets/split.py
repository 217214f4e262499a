"""A label in, its split out: by hash, so that new labels never move old ones and no training can choose the test."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, model_validator

SPLITS = ("train", "validation", "test")
_ROUNDING = 1e-6


class Splitting(BaseModel):
    """How classes are split where no column says it. The seed of a training has no part in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    train: NonNegativeFloat = 0.7
    validation: NonNegativeFloat = 0.15
    test: NonNegativeFloat = 0.15

    @model_validator(mode="after")
    def _is_whole(self) -> "Splitting":
        if not math.isclose(sum(self.proportions.values()), 1, abs_tol=_ROUNDING):
            raise ValueError(f"the shares {self.train:g}, {self.validation:g} and {self.test:g} do not sum to 1")
        return self

    @property
    def proportions(self) -> dict[str, float]:
        return {split: getattr(self, split) for split in SPLITS}

    def __call__(self, name: str) -> str:
        """The split of the class, or of the group of classes, ``name``."""
        return hash_split(name, self.proportions, self.seed)


def splitting(shares: str, seed: int) -> Splitting:
    """From ``70/15/15``: train, validation and test in percent. Raises ``ValueError`` with what is wrong, in a sentence."""
    wanted = "give the percent of train, validation and test, like 70/15/15"
    try:
        parts = [float(part) / 100 for part in shares.split("/")]
    except ValueError:
        raise ValueError(f"{shares!r} is not made of numbers: {wanted}.") from None
    if len(parts) != len(SPLITS):
        raise ValueError(f"{shares!r} has {len(parts)} part{'s' if len(parts) > 1 else ''}: {wanted}.")
    if not all(0 <= part <= 1 for part in parts):  # NaN is not either
        raise ValueError(f"{shares!r} has a part that is not from 0 to 100: {wanted}.")
    if not math.isclose(sum(parts), 1, abs_tol=_ROUNDING):
        raise ValueError(f"{shares!r} does not sum to 100: {wanted}.")
    values: dict[str, Any] = dict(zip(SPLITS, parts, strict=True))
    return Splitting(seed=seed, **values)


def hash_split(label: str, proportions: Mapping[str, float], seed: int = 0) -> str:
    """The split whose share of [0, 1) holds the hash of (``seed``, ``label``). ``proportions`` sum to 1."""
    point = int.from_bytes(hashlib.sha256(f"{seed}:{label}".encode()).digest()[:8], "big") / 2**64
    edge = 0.0
    last = ""
    for split, share in proportions.items():
        edge += share
        if point < edge:
            return split
        last = split if share else last
    return last
