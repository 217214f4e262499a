"""Figures in, SVG drawings out, in the colours of the page's style sheet."""

from markupsafe import Markup, escape

from ..calibrate import Reliability
from .facts import Row
from .pictures import Album
from .projection import Map
from .words import short

_BAR, _MIDDLE = 120, 9  # length of the bar from 0 to 1, its height's half
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 360, 316, 40, 12, 28, 40
_MAP, _EDGE, _THUMB = 1000, 40, 64  # a picture is smaller than what lies between two of them


def bar(row: Row) -> Markup:
    """From 0 to 1: the backbone as it is, a ring, the trained network, a dot, and their intervals."""
    marks = [f'<path class="axis" d="M0 {_MIDDLE}H{_BAR}M0 {_MIDDLE - 4}v8M{_BAR} {_MIDDLE - 4}v8"/>']
    for estimate, shade in ((row.backbone, "second"), (row.trained, "first")):
        if estimate is not None:
            low, high = estimate.interval or (estimate.value, estimate.value)
            marks.append(f'<path class="range {shade}" d="M{_BAR * low:.1f} {_MIDDLE}H{_BAR * high:.1f}"/>')
            marks.append(f'<circle class="{shade}" cx="{_BAR * estimate.value:.1f}" cy="{_MIDDLE}" r="3"/>')
    return Markup(f'<svg class="bar-of" viewBox="-6 0 {_BAR + 12} {2 * _MIDDLE}" aria-hidden="true">{"".join(marks)}</svg>')


def reliability(found: Reliability) -> Markup:
    """What was said against what was so, in bins of equal mass; a hit on the dashed line was told its true chance."""
    places = [(_x(said), _y(was)) for said, was, _ in found.bins()]
    grid = [f'<path class="grid" d="M{_LEFT} {_y(tick):.1f}H{_WIDTH - _RIGHT}"/>' for tick in _TENTHS]
    grid += [f'<text class="row" x="{_LEFT - 8}" y="{_y(tick) + 4:.1f}">{tick:.0%}</text>' for tick in _TENTHS]
    grid += [f'<text x="{_x(tick):.1f}" y="{_HEIGHT - 22}">{tick:.0%}</text>' for tick in _TENTHS]
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)
    told = "".join(
        f'<rect x="{x - 8:.1f}" y="{y - 8:.1f}" width="16" height="16"><title>said {said:.0%}, right {was:.0%}, '
        f"{hits:,} hits</title></rect>"
        for (x, y), (said, was, hits) in zip(places, found.bins(), strict=True)
    )
    drawing = [
        *grid,
        f'<path class="stem" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>',
        f'<path class="line first" d="M{line}"/><path class="dots first" d="{dots}"/>{told}',
        f'<text x="{(_x(0) + _x(1)) / 2}" y="{_HEIGHT - 4}">confidence that was given</text>',
        '<text class="begin" x="0" y="12">of the hits that were given it, so many were right</text>',
    ]
    about = 'role="img" aria-label="Share of right hits by confidence"'
    return Markup(f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" {about}>{"".join(drawing)}</svg>')


_TENTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def _x(value: float) -> float:
    return _LEFT + value * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _TOP + (1 - value) * (_HEIGHT - _TOP - _BOTTOM)


def map_of(found: Map, album: Album) -> Markup:
    """A dot an image, a cross where the first hit was wrong, a ring where nothing was asked; and some of the pictures."""
    places = _EDGE + found.places * (_MAP - 2 * _EDGE)
    height = places[:, 1].max() + _EDGE
    marks = {
        "asked": (-1, "M{:.0f} {:.0f}h0"),
        "yes": (1, "M{:.0f} {:.0f}h0"),
        "no": (0, "M{:.0f} {:.0f}m-5-5l10 10m-10 0l10-10"),
    }
    drawing = [
        f'<path class="{shade}" d="{"".join(mark.format(*place) for place in places[found.right == value])}"/>'
        for shade, (value, mark) in marks.items()
    ]
    for row, picture in found.pictures.items():
        x, y = places[row] - _THUMB / 2
        wrong = ' class="no"' if found.right[row] == 0 else ""
        image = f'<use href="#{album.id(picture)}" transform="translate({x:.0f} {y:.0f}) scale({_THUMB})"/>'
        frame = f'<rect{wrong} x="{x:.0f}" y="{y:.0f}" width="{_THUMB}" height="{_THUMB}" rx="8">'
        drawing.append(f"{image}{frame}<title>{escape(short(picture.name))}</title></rect>")
    about = 'role="img" aria-label="Map of the tested images"'
    return Markup(f'<svg class="map" viewBox="0 0 {_MAP} {height:.0f}" {about}>{"".join(drawing)}</svg>')
