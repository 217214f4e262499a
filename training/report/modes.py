"""Centres of the training classes in, their portraits out: the images that each of them stands for."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..centers import distinct
from .pictures import Embed, Images, Picture

_SHOWN = 6  # classes
_POOL, _LOOKED = 20, 40  # classes that these are taken from, images of each that are looked at
_CENTRES, _NEAREST = 4, 6  # that are shown of a class, and pictures of each
_BLOCK = 1024  # classes whose centres are compared at a time


@dataclass(frozen=True)
class Centre:
    """How many of the class's images are nearer to it than to its others, and the nearest ones, best first."""

    images: int
    nearest: tuple[Picture, ...]


@dataclass(frozen=True)
class Portrait:
    """A class: ``cosine`` of the two centres that differ most, how many are ``distinct``, ``images`` that were looked at, and
    the ``centres`` that have images, those with most first."""

    name: str
    cosine: float
    distinct: int
    images: int
    centres: tuple[Centre, ...]


@dataclass(frozen=True)
class Portraits:
    """``each`` class has so many centres; ``counts``: how many classes have 1, 2, … distinct ones."""

    each: int
    counts: tuple[int, ...]
    shown: tuple[Portrait, ...]


def portraits(centers: Tensor, classes: tuple[str, ...], images: Images, embed: Embed) -> Portraits | None:
    """Of ``centers`` [C, K, D] of the ``classes``, the labels of ``images``. Classes whose centres differ most come first, if
    at least two centres have images. None where classes have one centre each."""
    if centers.shape[1] < 2:
        return None
    counts = distinct(centers)
    cosines = torch.cat([_lowest_cosine(block) for block in centers.split(_BLOCK)])
    shown: list[Portrait] = []
    for number in cosines.argsort(stable=True)[:_POOL].tolist():
        about = float(cosines[number]), int(counts[number])
        portrait = _portrait(centers[number], classes[number], images, embed, *about)
        if portrait is not None and len(portrait.centres) > 1:
            shown.append(portrait)
        if len(shown) == _SHOWN:
            break
    by_count = torch.bincount(counts, minlength=centers.shape[1] + 1)[1:]
    return Portraits(centers.shape[1], tuple(by_count.tolist()), tuple(shown))


def _lowest_cosine(centers: Tensor) -> Tensor:
    """Of two centres of a class: [C, K, D] → [C]."""
    unit = functional.normalize(centers.float(), dim=2)
    return (unit @ unit.mT).flatten(1).amin(dim=1)


def _portrait(centers: Tensor, label: str, images: Images, embed: Embed, cosine: float, distinct: int) -> Portrait | None:
    places = np.flatnonzero(images.labels == label)
    if not len(places):
        return None
    places = places[:: -(-len(places) // _LOOKED)]
    cosines = images.vectors(places, embed) @ functional.normalize(centers.float(), dim=1).numpy().T  # [P, K]
    nearest = cosines.argmax(axis=1)
    owned = [np.flatnonzero(nearest == centre) for centre in range(len(centers))]
    found = []
    for centre, own in sorted(enumerate(owned), key=lambda pair: -len(pair[1]))[:_CENTRES]:
        order = places[own[np.argsort(-cosines[own, centre], kind="stable")]]
        found.append(Centre(len(own), tuple(images.picture(place) for place in order[:_NEAREST])))
    centres = tuple(centre for centre in found if centre.images)
    return Portrait(images.names[label], cosine, distinct, len(places), centres)
