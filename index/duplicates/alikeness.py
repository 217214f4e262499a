"""Two pictures in, how far they differ out, where one may be a copy of the other: resized, recompressed, of another format,
brighter or of less contrast, with a border, or cropped to four fifths of its sides.

A picture is looked at once: borders of one colour (what is transparent is white) are cut off, and what is left is squeezed to
``SIDE`` × ``SIDE`` pixels. One of two pictures may show a part of the other. So parts of each are laid over the other, first
coarsely, in brightness and all parts at once (``overlaps``): that is quick and refuses most. Then the best part is moved and
stretched until it fits (``differences``), and what still differs is measured in colour.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from model.image import decode, upright_size

SIDE = 48  # pixels of a look
OVERLAP = 0.75  # below, pictures are not copies of each other
SAME = 0.3  # above, a difference is more than copying makes
BATCH = 128  # pairs that are compared at once: quicker than fewer, and what more would need does not fit into a cache

_DECODED = 4 * SIDE  # pixels of the shorter side, so that enough is left where the border is wide
_LONGEST = 4  # times as long as that, at most: the rest of a long narrow picture would only take time
_UNIFORM = 16  # levels: a border's pixels are this close to its colour, recompressed too
_COARSE = 16  # pixels of what is searched for parts
_SHORTEST = 12  # of these, the side of the smallest part
_FINE = 24  # pixels of what is compared in the end
_FIELD = 4  # of these, the side of a field: the worst one counts, so that one changed detail is enough
_FLAT = 8.0  # levels: differences are relative to the contrast, or to this where there is less
_SMALLEST = 0.63  # of the side: less is a part of a picture, but no copy of it
INEXACT = 0.06  # of a side: where a border ends is found no better, blurred as it is in a JPEG
_STEPS = 6
_STEP = 0.005  # of the side, for derivatives
_FARTHEST = 0.03  # of the side, in one step
_GAINS = (0.4, 2.5)
_BRIGHTER = 80.0  # levels, on average
_CLIPPED = 4.0  # levels from black and white: may have been farther before


LOOK = np.dtype(
    [
        ("pixels", np.uint8, (SIDE, SIDE, 3)),  # without the border
        ("frame", np.float32, 4),  # where the border ends: left, top, right, bottom; without one that is 0, 0, 1, 1
        ("border", np.uint8, 3),  # its colour
    ]
)


def look(data: bytes) -> tuple[np.ndarray, tuple[int, int]]:
    """Encoded picture bytes → its look, a ``LOOK``, and the upright picture's width and height in pixels.

    Raises ``model.image.ImageError``.
    """
    picture = decode(data, shorter_side=_DECODED)
    factor = max(1, min(picture.size) // _DECODED, max(picture.size) // (_LONGEST * _DECODED))
    small = picture.reduce(factor)
    left, top, right, bottom = box = inner(np.asarray(small))
    across, down = right - left, bottom - top
    frame = (-left / across, -top / down, (small.width - left) / across, (small.height - top) / down)
    last = min(right, small.width - 1), min(bottom, small.height - 1)
    beside = (left - 1, top) if left else (left, top - 1) if top else last
    seen = np.zeros((), LOOK)
    seen["pixels"] = small.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)
    seen["frame"], seen["border"] = frame, small.getpixel(beside)
    return seen, upright_size(data)


def inner(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """What borders of one colour leave of uint8 [H, W, 3]: left, top, right, bottom. All of it where nothing would be left."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = box = (0, 0, width, height)
    while True:
        for turns in range(4):  # the top row is, in turn, the top, the right, the bottom and the left side
            cut = _border(np.rot90(pixels[top:bottom, left:right], turns))
            top, right, bottom, left = _moved((top, right, bottom, left), turns, cut)
            if top >= bottom or left >= right:
                return 0, 0, width, height
        if box == (box := (left, top, right, bottom)):
            return box


def _border(pixels: np.ndarray) -> int:
    """How many rows at the top have one colour, that of the first row."""
    colour = np.median(pixels[0], axis=0).astype(np.int16)
    if (np.abs(pixels[0] - colour) > _UNIFORM).any():  # most have none, and this is quick
        return 0
    uniform = (np.abs(pixels - colour) <= _UNIFORM).all(axis=(1, 2))
    return len(uniform) if uniform.all() else int(uniform.argmin())


def _moved(sides: tuple[int, int, int, int], place: int, cut: int) -> tuple[int, int, int, int]:
    """Top, right, bottom, left with one of them moved inwards."""
    moved = list(sides)
    moved[place] += cut if place in (0, 3) else -cut
    return moved[0], moved[1], moved[2], moved[3]


# Where a part begins and how long it is, along one side: shares of the side


def _samplers(start: np.ndarray, length: np.ndarray, count: int, side: int) -> np.ndarray:
    """Float32 [P], [P] → matrices [P, count, side] that resample the part of ``side`` pixels to ``count`` pixels.

    Triangles as wide as two pixels of the coarser side: two pictures of one thing are blurred alike, whatever their scale.
    """
    step = length * (side / count)
    centre = start[:, None] * side + step[:, None] * (np.arange(count, dtype=np.float32) + 0.5) - 0.5
    distance = np.abs(np.clip(centre, 0, side - 1)[:, :, None] - np.arange(side, dtype=np.float32))
    weights = np.maximum(0, 1 - distance / np.maximum(1, step)[:, None, None])
    return weights / weights.sum(axis=2, keepdims=True)


def _spans() -> np.ndarray:
    """Float32 [S, 2]: start and length of every part that is searched, along one side."""
    spans = [(start, size) for size in range(_SHORTEST, _COARSE + 1) for start in range(_COARSE - size + 1)]
    return np.array(spans, np.float32) / _COARSE


_SPANS = _spans()
_PARTS = _samplers(_SPANS[:, 0], _SPANS[:, 1], _SHORTEST, _COARSE).reshape(-1, _COARSE)
_WHOLE = _PARTS[-_SHORTEST:]


# Coarsely: which part of the one shows the other?


@dataclass(frozen=True)
class Overlaps:
    """Of P pairs: ``rows`` int64 [P, 2], the second of which shows, if they are copies, a part of the first or all of it.

    ``fit`` float32 [P]: the correlation of brightness. ``part`` float32 [P, 4]: left, top, width and height as shares of the
    sides.
    """

    rows: np.ndarray
    fit: np.ndarray
    part: np.ndarray

    def __getitem__(self, chosen: np.ndarray | slice) -> "Overlaps":
        return Overlaps(self.rows[chosen], self.fit[chosen], self.part[chosen])


def overlaps(looks: np.ndarray, pairs: np.ndarray, advance: Callable[[int], None] = lambda _: None) -> Overlaps:
    """Looks, ``LOOK`` [N], and pairs of their rows int64 [P, 2], in whichever order, → how they fit best.

    ``advance`` hears of every pair that is done.
    """
    both = np.concatenate([pairs, pairs[:, ::-1]])
    order = np.argsort(both[:, 0], kind="stable")  # what is searched in a picture is prepared once
    fit, part = np.empty(len(both), np.float32), np.empty((len(both), 4), np.float32)
    done = 0
    for group in np.split(order, np.flatnonzero(np.diff(both[order, 0])) + 1) if len(pairs) else ():
        whole, *others = _coarse(looks["pixels"][np.append(both[group[:1], 0], both[group, 1])])
        fit[group], part[group] = _best_parts(whole, np.stack(others))
        advance((done + len(group)) // 2 - done // 2)
        done += len(group)
    turned = np.arange(len(pairs)) + len(pairs) * (fit[len(pairs) :] > fit[: len(pairs)])
    return Overlaps(both[turned], fit[turned], part[turned])


def _best_parts(whole: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness [_COARSE, _COARSE] of one picture and [P, …] of others → fit and part, for each of the others."""
    searched = (_PARTS @ whole @ _PARTS.T).reshape(len(_SPANS), _SHORTEST, len(_SPANS), _SHORTEST)
    searched = _centred(searched.transpose(0, 2, 1, 3).reshape(-1, _SHORTEST**2))
    asked = _centred((_WHOLE @ others @ _WHOLE.T).reshape(-1, _SHORTEST**2))
    # The correlation; where there is no contrast, so that vectors are shorter than 1, half of the squared distance from 1.
    lengths = np.square(searched).sum(axis=1) + np.square(asked).sum(axis=1)[:, None]
    fit = asked @ searched.T + 1 - lengths / 2
    best = fit.shape[1] - 1 - fit[:, ::-1].argmax(axis=1)  # of equal ones the largest: without contrast all fit
    down, across = np.divmod(best, len(_SPANS))
    return fit[np.arange(len(best)), best], np.concatenate([_SPANS[across], _SPANS[down]], axis=1)[:, [0, 2, 1, 3]]


def _coarse(pixels: np.ndarray) -> np.ndarray:
    """Looks → float32 [N, _COARSE, _COARSE] of brightness."""
    fields = pixels.reshape(-1, _COARSE, SIDE // _COARSE, _COARSE, SIDE // _COARSE, 3)
    return fields.mean(axis=(2, 4, 5), dtype=np.float32)


def _centred(rows: np.ndarray) -> np.ndarray:
    """Without the mean, and of length 1 where there is contrast."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _FLAT * rows.shape[1] ** 0.5)


# Finely: what differs where the part is laid over the other?


def differences(looks: np.ndarray, pairs: Overlaps) -> np.ndarray:
    """Looks, ``LOOK`` [N], and how P pairs of them overlap → float32 [P].

    The difference is the root mean square of what differs in the worst field of the picture, in units of the picture's
    contrast, after brightness and contrast were made equal; infinite where these are too far apart, or only a small part fits.
    """
    found = [_differences(looks, pairs[some]) for some in _batches(len(pairs.rows))]
    return np.concatenate([np.empty(0, np.float32), *found])


def _batches(count: int) -> Iterator[slice]:
    for start in range(0, count, BATCH):
        yield slice(start, start + BATCH)


def _differences(looks: np.ndarray, pairs: Overlaps) -> np.ndarray:
    ones, others = looks[pairs.rows[:, 0]], looks[pairs.rows[:, 1]]
    one, other = (each["pixels"].mean(axis=3, dtype=np.float32) for each in (ones, others))
    fitted = _fitted(one, other, pairs.part)
    part, frame = _with_border(fitted, others["frame"])
    shown, wanted = _sampled(ones["pixels"], part), _sampled(others["pixels"], frame)
    place = frame[:, None, :2] + frame[:, None, 2:] * ((np.arange(_FINE)[:, None] + 0.5) / _FINE)
    across, down = np.moveaxis((place < 0) | (place > 1), 2, 0)
    wanted = np.where((down[:, :, None] | across[:, None])[..., None], others["border"][:, None, None], wanted)
    least = np.minimum(_left(shown, wanted), _left(wanted, shown))
    # A tile of one colour would be a part of everything that has a field of that colour.
    flat = (wanted.std(axis=(1, 2)) < _FLAT).all(axis=1) & (pairs.part[:, 2:] < 1).any(axis=1)
    return np.where((fitted[:, 2:] < _SMALLEST).any(axis=1) | flat, np.inf, least).astype(np.float32)


def _with_border(part: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts [P, 4] of two pictures that are compared, where ``part`` of the first shows the second without its border.

    Where the second has a border and the first goes on, the border belongs to what is compared: a heart with a border is no
    crop of a heart with rays.
    """
    start, length = part[:, :2], part[:, 2:]
    low = np.where(start > INEXACT, np.maximum(frame[:, :2], -start / length), 0)
    high = np.where(start + length < 1 - INEXACT, np.minimum(frame[:, 2:], (1 - start) / length), 1)
    return np.concatenate([start + low * length, (high - low) * length], axis=1), np.concatenate([low, high - low], axis=1)


def _left(darker: np.ndarray, brighter: np.ndarray) -> np.ndarray:
    """What is left between pictures [P, _FINE, _FINE, 3] when the first is made as bright as the second, in which what was
    white before is not brighter: [P].
    """
    one, other = darker.reshape(len(darker), -1), brighter.reshape(len(brighter), -1)
    weights = np.where((other > _CLIPPED) & (other < 255 - _CLIPPED), 1, 1e-3).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    means = [(weights * each).sum(axis=1, keepdims=True) for each in (one, other)]
    power = (weights * (one - means[0]) ** 2).sum(axis=1, keepdims=True)
    product = (weights * (one - means[0]) * (other - means[1])).sum(axis=1, keepdims=True)
    gain = np.where(power < _FLAT**2, 1, product / np.maximum(power, 1))
    made = np.clip(gain * (one - means[0]) + means[1], 0, 255)
    fields = np.square(made - other).reshape(-1, _FINE // _FIELD, _FIELD, _FINE // _FIELD, _FIELD * 3)
    worst = np.sqrt(fields.mean(axis=(2, 4)).max(axis=(1, 2)))
    odd = (gain < _GAINS[0]) | (gain > _GAINS[1]) | (np.abs(means[1] - means[0]) > _BRIGHTER)
    return np.where(odd[:, 0], np.inf, worst / np.maximum(_FLAT, other.std(axis=1)))


def _fitted(ones: np.ndarray, others: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Move and stretch parts [P, 4] of brightness ``ones`` until they fit ``others``.

    Gauss and Newton's steps with a gain and a shift of brightness; Evangelidis and Psarakis, "Parametric Image Alignment Using
    Enhanced Correlation Coefficient Maximization" (2008), reach the same by correlation.
    """
    parts = parts.copy()
    whole = np.repeat(np.array([[0, 0, 1, 1]], np.float32), len(others), axis=0)
    wanted = _sampled(others, whole).reshape(len(ones), -1)
    for _ in range(_STEPS):
        across, down = (_samplers(parts[:, side], parts[:, side + 2], _FINE, SIDE) for side in (0, 1))
        rows, columns = down @ ones, ones @ across.transpose(0, 2, 1)
        shown = rows @ across.transpose(0, 2, 1)
        slopes = []
        for place in range(4):
            moved = parts.copy()
            moved[:, place] += _STEP
            sampler = _samplers(moved[:, place % 2], moved[:, place % 2 + 2], _FINE, SIDE)
            beside = rows @ sampler.transpose(0, 2, 1) if place % 2 == 0 else sampler @ columns
            slopes.append((beside - shown) / _STEP)
        columns_ = np.stack([shown, np.ones_like(shown), *slopes], axis=1).reshape(len(ones), 6, -1)
        square = (columns_ @ columns_.transpose(0, 2, 1)).astype(np.float64) + 1e-3 * np.eye(6)
        solved = np.linalg.solve(square, (columns_ @ wanted[:, :, None]).astype(np.float64))[:, :, 0]
        gain = np.clip(solved[:, :1], *_GAINS)
        parts += np.clip(solved[:, 2:] / gain, -_FARTHEST, _FARTHEST).astype(np.float32)
        parts[:, 2:] = np.clip(parts[:, 2:], 0.5, 1.1)
        parts[:, :2] = np.clip(parts[:, :2], -0.05, 1.05 - parts[:, 2:])
    return parts


def _sampled(pixels: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Parts [P, 4] of pictures [P, side, side, …] → float32 [P, _FINE, _FINE, …]."""
    count, side = pixels.shape[:2]
    across, down = (_samplers(parts[:, axis], parts[:, axis + 2], _FINE, side) for axis in (0, 1))
    rows = down @ pixels.reshape(count, side, -1).astype(np.float32)
    turned = rows.reshape(count, _FINE, side, -1).transpose(0, 1, 3, 2)
    resampled = turned @ across.transpose(0, 2, 1)[:, None]
    return resampled.transpose(0, 1, 3, 2).reshape(count, _FINE, _FINE, *pixels.shape[3:])
