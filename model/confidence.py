"""A hit's score and the size of the gallery in, the probability that the hit shows the same kind of thing out.

The score of a right hit differs from model to model and says nothing by itself. ``calibration.json`` in a bundle keeps what
the score is worth, as it was found on classes that the network did not learn from (``training.calibrate``): the logarithm of
how much more often a pair of the same kind has this score than a pair of different kinds. The gallery adds how rare the
right answers are in it. The result is a probability if half of the questions have a right answer at all.
"""

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeFloat, PositiveFloat, ValidationError, model_validator

from .bundle import Bundle, BundleError

FILE = "calibration.json"
UNLIKELY = 0.2  # a best hit below this: there is probably nothing similar


class Calibration(BaseModel):
    """``ratios`` at the cosines ``scores``, both rising; straight lines between, constant beyond.

    ``matches``: the right answers that a question usually has. ``exponent``: by how much the odds fall with the size of the
    gallery; 1 if all items were strangers to each other, less because look-alikes come in families.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    scores: list[FiniteFloat]
    ratios: list[FiniteFloat]
    matches: PositiveFloat
    exponent: NonNegativeFloat = 1.0
    fitted_on: dict[str, Any] = {}

    @model_validator(mode="after")
    def _is_a_rising_curve(self) -> "Calibration":
        if not self.scores or len(self.scores) != len(self.ratios):
            raise ValueError("there must be as many ratios as scores, and at least one")
        if sorted(self.scores) != self.scores or sorted(self.ratios) != self.ratios:
            raise ValueError("the scores and the ratios must rise")
        return self

    def confidence(self, scores: np.ndarray, count: int) -> np.ndarray:
        """float64, of the shape of ``scores`` (cosines), in a gallery of ``count`` items."""
        odds = np.interp(scores, self.scores, self.ratios) + self.exponent * log_share(self.matches, count)
        return 1 / (1 + np.exp(-odds))


def log_share(matches: float, count: int) -> float:
    """The logarithm of the share of right answers among ``count`` items, of which there are ``matches`` at most."""
    return float(np.log(min(1.0, matches / max(1, count))))


def load(bundle: Bundle) -> Calibration | None:
    """None where the bundle has none: it was not trained, or there were too few validation classes."""
    if FILE not in bundle.manifest.files:
        return None
    try:
        return Calibration.model_validate_json((bundle.path / FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{bundle.path / FILE} cannot be read. If a newer Lookalike made it, update this one.") from error
