"""Classes of one image: learn from them or not? Decided on validation classes, with the backbone frozen."""

import copy

import numpy as np

from model.network import EmbeddingNetwork

from .config import TrainingConfig
from .examples import Examples
from .processes import Processes
from .trainer import Validate, fit

_EPOCHS = 10


def several(examples: Examples) -> np.ndarray:
    """The places of the images that are not the only one of their class. The others' classes are of their augmentations."""
    return np.flatnonzero(np.bincount(examples.labels)[examples.labels] > 1)


def compared(
    examples: Examples, config: TrainingConfig, validate: Validate, start: EmbeddingNetwork | None, processes: Processes
) -> dict[str, float]:
    """MAP@R on the validation classes of a head that was trained with and without them: ``keep`` and ``leave``."""
    head_only = config.model_copy(update={"epochs": 0, "head_epochs": max(_EPOCHS, config.head_epochs)})
    return {
        choice: fit(part, head_only, start=copy.deepcopy(start), validate=validate, processes=processes).history[0][
            "validation"
        ]["map@r"]
        for choice, part in (("keep", examples), ("leave", examples.some(several(examples))))
    }
