"""An audit and its data in, a page out: each suspect beside pictures of its own class and of the class that it looks like."""

import io
from base64 import b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

from model.transform import Transform

from .audit import LIKELY, MOST, Audit, Suspect
from .datasets.labels import Dataset
from .datasets.pixels import look
from .page import whole

_EXAMPLES = 4  # of a class
_SIZE = 144  # pixels of a picture: sharp on a phone
_QUALITY = 82
_LISTED = 200  # of the labels that were not judged


def page(audit: Audit, data: Dataset, most: int | None = MOST) -> str:
    """The first ``most`` suspects of ``audit``, of ``data``, whose pictures are read again."""
    suspects = audit.suspects(most)
    examples = {each.row: _examples(audit, each) for each in suspects}
    rows = {row for each in suspects for row in (each.row, *(row for rows in examples[each.row] for row in rows))}
    pictures = _pictures(data, sorted(rows))
    likely = [each for each in suspects if each.probability >= LIKELY]
    others = suspects[len(likely) :]
    sections = [
        _section("Likelier wrong than right", "", likely, examples, pictures),
        _section("Next in order", _NEXT, others, examples, pictures),
    ]
    title = f"{audit.likely:,} of {int(audit.judged.sum()):,} labels look{'s' if audit.likely == 1 else ''} wrong"
    content = f"""<section class="head"><h1>{title}</h1><p>{escape(data.root.name)}</p></section>
{_tiles(audit)}
{"".join(sections)}
{_not_judged(audit)}
<section class="card about"><h2>What the figures mean</h2>{_ABOUT}</section>"""
    footer = "Nothing was changed: whether a label is wrong is for people to say."
    return whole(f"{title} · {data.root.name}", content, style=_STYLE, footer=footer)


def _examples(audit: Audit, suspect: Suspect) -> tuple[list[int], list[int]]:
    """Rows of images that show what its own class and the other are: those whose labels are the surest."""
    labels = np.array(audit.labels)
    doubt = np.nan_to_num(audit.probability, nan=LIKELY)  # of a class of one image nothing is known
    found = []
    for label in (suspect.label, suspect.looks_like):
        rows = np.flatnonzero((labels == label) & (np.arange(len(labels)) != suspect.row))
        found.append(rows[np.argsort(doubt[rows], kind="stable")][:_EXAMPLES].tolist())
    return found[0], found[1]


def _pictures(data: Dataset, rows: Sequence[int]) -> dict[int, str]:
    """Pictures as text that a page holds; none of those that cannot be read any more."""
    seen = look(data.rows(rows), Transform(size=_SIZE))
    return {row: _encoded(seen.pixels[place]) for place, row in enumerate(rows) if place not in seen.faults}


def _encoded(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=_QUALITY)
    return b64encode(file.getvalue()).decode()


def _tiles(audit: Audit) -> str:
    judged = int(audit.judged.sum())
    tiles = {
        "likelier wrong than right": (f"{audit.likely:,}", "labels"),
        "expected wrong": (f"{audit.expected:,.0f}", f"{audit.expected / judged:.1%} of those judged"),
        "judged": (f"{judged:,}", "images"),
        "labels": (f"{len(audit.classes):,}", "different ones"),
    }
    shown = (f"<div><dt>{name}</dt><dd>{value}</dd><dd>{more}</dd></div>" for name, (value, more) in tiles.items())
    return f'<dl class="tiles">{"".join(shown)}</dl>'


def _section(
    title: str,
    more: str,
    suspects: Sequence[Suspect],
    examples: Mapping[int, tuple[list[int], list[int]]],
    pictures: Mapping[int, str],
) -> str:
    if not suspects:
        return ""
    cards = "".join(_card(each, *examples[each.row], pictures) for each in suspects)
    return f'<section><h2>{title}</h2>{f"<p>{more}</p>" if more else ""}<div class="suspects">{cards}</div></section>'


def _card(suspect: Suspect, own: Sequence[int], other: Sequence[int], pictures: Mapping[int, str]) -> str:
    sides = [
        ("labelled", suspect.label, suspect.similarity, own, "own"),
        ("looks like", suspect.looks_like, suspect.similarity_of_other, other, "other"),
    ]
    shown = "".join(
        f'<div class="side {shade}"><p>{said} <b>{escape(label)}</b></p>'
        f'<p class="bar" role="img" aria-label="similarity {similarity:.2f}">'
        f'<i style="width:{max(0.0, min(1.0, similarity)):.0%}"></i></p>'
        f'<div class="examples">{"".join(_picture(row, label, pictures) for row in rows) or _NONE}</div></div>'
        for said, label, similarity, rows, shade in sides
    )
    return f"""<article class="card"><div class="suspect">{_picture(suspect.row, suspect.path, pictures)}
<p class="chance"><b>{_percent(suspect.probability)}</b> wrong</p></div>
<p class="path">{escape(suspect.path)} <span>row&nbsp;{suspect.number}</span></p>{shown}</article>"""


def _picture(row: int, said: str, pictures: Mapping[int, str]) -> str:
    if row not in pictures:
        return '<span class="gone">cannot be read</span>'
    source = f"data:image/webp;base64,{pictures[row]}"
    return f'<img src="{source}" alt="{escape(said)}" width="{_SIZE}" height="{_SIZE}">'


def _percent(probability: float) -> str:
    """Never more certain than can be known."""
    return "&lt; 1 %" if probability < 0.01 else "&gt; 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


def _not_judged(audit: Audit) -> str:
    rows = np.flatnonzero(~audit.judged)
    if not len(rows):
        return ""
    named: dict[str, list[str]] = defaultdict(list)
    for row in rows[:_LISTED]:
        named[audit.labels[row]].append(audit.files[row])
    listed = "".join(f"<li><b>{escape(label)}</b> {escape(', '.join(paths))}</li>" for label, paths in named.items())
    more = f"<p>And {len(rows) - _LISTED:,} more.</p>" if len(rows) > _LISTED else ""
    return f"""<details class="card"><summary>{len(rows):,} not judged: no other image has the same label</summary>
<ul>{listed}</ul>{more}</details>"""


_NONE = '<span class="gone">no other picture</span>'
_NEXT = "Less likely wrong, but the least like their label of all the others."
_ABOUT = """
<p>Every image was compared with what was learnt from other images only, so a wrong label could not teach itself.
<b>The bars</b> tell how similar an image is to the typical image of its label, and of the label that it looks like.</p>
<p><b>The probability</b> follows from the similarities to all labels, and supposes that a wrong label could be any other. Where
people confused labels that look the same, it is far too low, and the order tells more. A picture that is unlike the others of
its label, but right, can be listed too.</p>"""


_STYLE = """
main { gap: 1.5rem; }
.head { display: block; padding: 0; }
.head p, h2 + p { margin-top: .35rem; color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
.about :is(p, h2 + p) { margin-top: .6rem; max-width: 46rem; color: var(--ink); font-size: .9375rem; }
.card { padding: 1rem 1.25rem; border: 1px solid light-dark(var(--line), #0000); border-radius: 1rem; background: var(--card); }

.suspects { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; margin-top: .75rem; }
article {
  display: grid; grid-template-columns: 8rem minmax(0, 1fr); grid-template-rows: auto auto 1fr; gap: .6rem 1.25rem;
  break-inside: avoid;
}
.suspect { grid-row: 1 / 4; }
.path { color: var(--soft); font-size: .8125rem; overflow-wrap: anywhere; }
.chance { margin-top: .35rem; color: var(--soft); font-size: .875rem; text-align: center; font-variant-numeric: tabular-nums; }
.chance b { color: var(--ink); font-size: 1.125rem; font-weight: 650; }
.side p { overflow-wrap: anywhere; font-size: .875rem; }
.side b { font-weight: 650; }
.own b { color: var(--bad); }
.other b { color: var(--accent); }
.bar { height: .3125rem; margin: .2rem 0 .45rem; border-radius: 1rem; background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 1rem; background: var(--accent); }
.own .bar i { background: var(--bad); }
.examples { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .4rem; }
article img {
  display: block; width: 100%; height: auto; border: 1px solid var(--line); border-radius: .6rem; background: #fff;
}
.gone { grid-column: 1 / -1; color: var(--soft); font-size: .8125rem; }
summary { font-weight: 600; cursor: pointer; }
li { overflow-wrap: anywhere; font-size: .875rem; }

@media (max-width: 52rem) {
  .suspects { grid-template-columns: minmax(0, 1fr); }
}
@media (max-width: 30rem) {
  article { grid-template-columns: 6rem minmax(0, 1fr); gap: .75rem 1rem; }
  .suspect { grid-row: 1; }
  .path { align-self: center; }
  .side { grid-column: 1 / -1; }
}
@media print {
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; }
  .tiles { grid-template-columns: repeat(4, minmax(0, 1fr)); }
  .suspects { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  article { grid-template-columns: 5rem minmax(0, 1fr); padding: .75rem; }
  .bar, .bar i { print-color-adjust: exact; }
}
"""
