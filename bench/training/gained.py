"""What does training gain on classes that it never saw? Emoji, icons, and things on photographs.

Trained on the train and validation classes, the network after the last epoch, measured once on the test classes in float32;
beside it what costs less: the backbone as it is, its features whitened, and a head alone on the frozen backbone, also before it
learns, when it is the principal axes of the features.
"""

from collections.abc import Callable, Iterator
from functools import partial

from sklearn.decomposition import PCA

from training.config import TrainingConfig

from . import sets
from .cells import Asked, Cell, Figures, Row
from .figures import EVERY_RETRIEVAL, RETRIEVAL, backbone, figures, of_network, preset, settings, trained, unit, vectors
from .sets import Pictures

_LEARNT = ("train", "validation")
_SEEN = ("backbone", "weights", "pooling", "image_size", "fit")  # settings of a network that is not trained
_HEAD_EPOCHS = 20
FULL, HEAD, START = "trained", "head alone", "head as it starts"
WHITENED, BACKBONE = "backbone, whitened", "backbone as it is"
_COSTS = {"minutes to train": "fit_minutes", "to read": "reading_minutes"}


def full(pictures: Pictures, config: TrainingConfig) -> Figures:
    network, cost = trained(pictures.examples(pictures.rows(*_LEARNT)), config)
    reading = {"reading_minutes": round(pictures.reading_seconds / 60, 3)}
    return of_network(network, pictures, pictures.rows("test")) | cost | reading


def as_it_is(pictures: Pictures, config: TrainingConfig) -> Figures:
    return of_network(backbone(config), pictures, pictures.rows("test"))


def whitened(pictures: Pictures, config: TrainingConfig) -> Figures:
    """Fitted on unit features of the images that a training would learn from, with as many dimensions."""
    learnt, test = pictures.rows(*_LEARNT), pictures.rows("test")
    known, asked = (vectors(backbone(config), pictures.pixels[rows]) for rows in (learnt, test))
    pca = PCA(min(config.dim, *known.shape), whiten=True, random_state=0).fit(known)
    return figures(unit(pca.transform(asked)), pictures.columns(test), pictures.mask)


_WAYS: dict[str, tuple[Callable[[Pictures, TrainingConfig], Figures], tuple[str, ...]]] = {
    FULL: (full, ()),
    HEAD: (full, ()),
    START: (full, ()),
    WHITENED: (whitened, (*_SEEN, "dim")),
    BACKBONE: (as_it_is, _SEEN),
}


def _cells(name: str, variants: tuple[str, ...], **changes: object) -> Callable[[Asked, int], Iterator[Cell]]:
    def cells(asked: Asked, seed: int) -> Iterator[Cell]:
        for variant in variants:
            config = preset(asked, seed, **changes)
            if variant in (HEAD, START):
                head_epochs = max(_HEAD_EPOCHS, config.head_epochs) if variant == HEAD else 0
                config = config.model_copy(update={"epochs": 0, "head_epochs": head_epochs})
            pictures, (way, names) = sets.load(name, config, asked.tiny), _WAYS[variant]
            kept = {"data": pictures.settings, "learnt": _LEARNT, "config": settings(config, *names)}
            yield Cell(variant, seed, kept, partial(way, pictures, config))

    return cells


_ONCE = (WHITENED, BACKBONE)
ROWS = (
    Row(
        "emoji",
        "What does training gain on emoji that it never saw?",
        _cells("emoji", (FULL, BACKBONE)),
        EVERY_RETRIEVAL | _COSTS,
        seeds=5,
        once=_ONCE,
    ),
    Row(
        "icons",
        "Does the preset, untouched, help on pictures that it was not chosen on?",
        _cells("icons", (FULL, HEAD, START, WHITENED, BACKBONE)),
        RETRIEVAL | _COSTS,
        seeds=3,
        once=_ONCE,
    ),
    Row(
        "objects",
        "Things to be found on photographs, with EfficientNet-Lite2",
        _cells("objects", (FULL, HEAD, START, BACKBONE), backbone="efficientnet_lite2", image_size=160, train_size=128),
        {"R@1": "recall@1", "R@8": "recall@8", "MRR": "mrr"} | _COSTS,
        seeds=3,
        once=_ONCE,
    ),
)
