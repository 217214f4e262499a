"""Images in, small pictures of them out: each distinct one once, and all of them together within a budget of bytes."""

import hashlib
import io
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image

Embed = Callable[[np.ndarray], np.ndarray]  # pixels uint8 [N, S, S, 3] → unit vectors float32 [N, D]
BUDGET = 4_200_000  # characters of all pictures in a page, which leaves room for its text
_FORMS = ((112, 80), (96, 75), (80, 65), (64, 55), (48, 40))  # side in pixels and quality, until all fit
_BLOCK = 256  # images that are taken out of the store at a time


@dataclass(frozen=True, eq=False)
class Picture:
    """``pixels`` uint8 [S, S, 3]; ``name`` of its class as people call it, and its ``file``."""

    pixels: np.ndarray
    name: str
    file: str = ""

    @cached_property
    def digest(self) -> str:
        """Equal for equal pixels."""
        return hashlib.sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()


@dataclass(frozen=True)
class Images:
    """N images: their ``rows`` int64 [N] in the store ``pixels`` uint8 [M, S, S, 3], and their ``columns`` of N texts each, of
    which ``label`` and ``path`` must be there."""

    pixels: np.ndarray
    rows: np.ndarray
    columns: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def labels(self) -> np.ndarray:
        return np.asarray(self.columns["label"])

    @cached_property
    def names(self) -> dict[str, str]:
        """What people call each label: the column ``name``, where it says one thing of each label and no two share it."""
        labels = self.columns["label"]
        pairs = set(zip(labels, self.columns.get("name", labels), strict=True))
        named = dict(pairs)
        unique = len(pairs) == len(named) == len(set(named.values()))
        return named if unique and all(named.values()) else {label: label for label in named}

    def picture(self, place: int) -> Picture:
        name, file = self.names[self.columns["label"][place]], self.columns["path"][place]
        return Picture(np.asarray(self.pixels[self.rows[place]]), name, file)

    def vectors(self, places: np.ndarray, embed: Embed) -> np.ndarray:
        """Those of the images at ``places`` [P]: float32 [P, D]."""
        blocks = np.array_split(self.rows[places], max(1, -(-len(places) // _BLOCK)))
        return np.concatenate([embed(np.asarray(self.pixels[block])) for block in blocks])


@dataclass(frozen=True)
class Album:
    """The pictures of a page: data URIs, by a short id that the page uses as often as it likes."""

    uris: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)  # by the picture's digest

    def id(self, picture: Picture) -> str:
        return self.ids[picture.digest]


def album(pictures: Iterable[Picture], budget: int = BUDGET) -> Album:
    """As large and as good as fits into ``budget`` characters; where nothing does, the smallest form."""
    distinct = {picture.digest: picture for picture in pictures}
    ids = {digest: f"p{number}" for number, digest in enumerate(distinct)}
    for side, quality in _FORMS:
        uris = {ids[digest]: _uri(picture.pixels, side, quality) for digest, picture in distinct.items()}
        if sum(map(len, uris.values())) <= budget:
            break
    return Album(uris, ids)


def _uri(pixels: np.ndarray, side: int, quality: int) -> str:
    image, file = Image.fromarray(pixels), io.BytesIO()
    if image.width > side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    image.save(file, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"
