"""Duplicates and their collection in, a page out: each cluster as pictures, what is to be kept first.

It shows the first clusters only, and says so: what a browser cannot hold helps nobody.
"""

import io
from base64 import b64encode
from collections.abc import Sequence
from contextlib import closing
from html import escape
from pathlib import Path

from PIL import Image

from index import blobs
from index.catalog import Catalog
from index.duplicates import Cluster, Copy, Duplicates, Picture
from index.duplicates.alikeness import SAME
from model.image import ImageError, decode
from training.page import whole
from training.watch import counted

CLUSTERS = 200  # that are shown, those that take the most room first
COPIES = 11  # of a cluster that are shown
BYTES = 16 * 2**20  # of pictures: after that, no further cluster is shown
_SIDE = 176  # pixels of a picture's longer side: sharp on a phone
_QUALITY = 80
_UNREADABLE = 100  # that are listed


def page(found: Duplicates, collection: Path) -> str:
    """What was found, with thumbnails that are made of the files anew. Raises ``CatalogError``."""
    with closing(Catalog(collection)) as catalog:
        cards, size = [], 0
        for cluster in found.clusters[:CLUSTERS]:
            if size > BYTES:
                break
            cards.append(_card(cluster, collection, catalog))
            size += len(cards[-1])
    title = told(found)
    name = collection.resolve().name
    content = f"""<section class="head"><h1>{title}</h1><p>{escape(name)}</p></section>
{_tiles(found)}
<section class="clusters">{"".join(cards)}</section>
{_left_out(found.clusters[len(cards) :])}
{_unreadable(found)}
<section class="card about"><h2>What is shown</h2>{_ABOUT}</section>"""
    footer = "Nothing was changed or removed: what may go is for people to say."
    return whole(f"{title} · {name}", content, style=_STYLE, footer=footer)


def size(number: int) -> str:
    """``1.5 MB``: bytes, as people say them."""
    value, unit = float(number), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 99.5 or unit == "B" else f"{value:.3g} {unit}"


def shape(picture: Picture) -> str:
    """``640 × 480``: pixels."""
    return "{:,} × {:,}".format(*picture.size)


def told(found: Duplicates) -> str:
    """``3 copies of 2 pictures``."""
    if not found.copies:
        return "No copies"
    copies = "1 copy" if found.copies == 1 else f"{found.copies:,} copies"
    return f"{copies} of {counted(len(found.clusters), 'picture')}"


def _why(copy: Copy) -> str:
    return copy.why if copy.why == "same file" else f"{copy.why}, differs by {copy.difference:.2f}"


def _tiles(found: Duplicates) -> str:
    same = sum(copy.why == "same file" for cluster in found.clusters for copy in cluster.copies)
    tiles = {
        "looked through": (f"{found.items:,}", "items"),
        "could go": (f"{found.copies:,}", "copies"),
        "of these, the same file": (f"{same:,}", "byte for byte"),
        "would be free": (size(found.bytes), "of the disk"),
    }
    shown = (f"<div><dt>{name}</dt><dd>{value}</dd><dd>{more}</dd></div>" for name, (value, more) in tiles.items())
    return f'<dl class="tiles">{"".join(shown)}</dl>'


def _card(cluster: Cluster, collection: Path, catalog: Catalog) -> str:
    shown = [_figure(cluster.keep, "keep", "keep", collection, catalog)]
    shown += [_figure(copy.picture, _why(copy), "go", collection, catalog) for copy in cluster.copies[:COPIES]]
    more = len(cluster.copies) - COPIES
    rest = f'<p class="more">and {more:,} more of them</p>' if more > 0 else ""
    total = f"{len(cluster.copies) + 1:,} files, {size(cluster.bytes)} could be free"
    return f'<article class="card"><p class="total">{total}</p><div class="pictures">{"".join(shown)}</div>{rest}</article>'


def _figure(picture: Picture, said: str, kind: str, collection: Path, catalog: Catalog) -> str:
    return f"""<div class="{kind}">{_thumbnail(picture, collection, catalog)}
<p class="why">{said}</p><p class="id">{escape(picture.item.id)}</p>
<p class="size">{shape(picture)} · {size(picture.item.size)}</p></div>"""


def _thumbnail(picture: Picture, collection: Path, catalog: Catalog) -> str:
    data = blobs.read(collection, catalog, picture.item)
    try:
        small = None if data is None else decode(data, shorter_side=_SIDE)
    except ImageError:
        small = None
    if small is None:
        return '<span class="gone">cannot be read any more</span>'
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=_QUALITY)
    source = f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"
    return f'<img src="{source}" alt="{escape(picture.item.id)}" width="{small.width}" height="{small.height}">'


def _left_out(clusters: Sequence[Cluster]) -> str:
    if not clusters:
        return ""
    copies = sum(len(cluster.copies) for cluster in clusters)
    free = size(sum(cluster.bytes for cluster in clusters))
    return f"""<p class="card">Not shown: {len(clusters):,} more clusters with {copies:,} copies, which take {free}.
<code>lookalike duplicates --json</code> lists all of them.</p>"""


def _unreadable(found: Duplicates) -> str:
    if not found.unreadable:
        return ""
    rows = sorted(found.unreadable.items())
    listed = "".join(f"<li><b>{escape(id)}</b> {escape(reason)}</li>" for id, reason in rows[:_UNREADABLE])
    more = f"<p>And {len(rows) - _UNREADABLE:,} more.</p>" if len(rows) > _UNREADABLE else ""
    return f"""<details class="card"><summary>{len(rows):,} could not be looked at</summary>
<ul>{listed}</ul>{more}</details>"""


_ABOUT = f"""
<p>What is to be kept comes first in each cluster: the picture with the most pixels inside its border, then the one
with the least border, the largest file, the oldest item. Every other one is a copy of it: the same file, or the same picture
resized, recompressed, cropped a little, with another border or another brightness.</p>
<p><b>The difference</b> is that of the worst part of the picture after it was laid over the other one, in units of its
contrast: 0 is the same, and above {SAME:g} there is no copy. What was cut out of a picture counts as a copy of it, if it is
about two thirds of the sides or more: look before you remove.</p>"""


# The look, beside that of all pages


_STYLE = """
main { gap: 1.25rem; }
.head { display: block; padding: 0; }
.head p { margin-top: .35rem; color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
.about p { margin-top: .6rem; max-width: 46rem; font-size: .9375rem; }
.card { padding: 1rem 1.25rem; border: 1px solid light-dark(var(--line), #0000); border-radius: 1rem; background: var(--card); }
.clusters { display: grid; gap: 1rem; }
.clusters:empty { display: none; }
article { break-inside: avoid; }
.total, .more { color: var(--soft); font-size: .8125rem; font-variant-numeric: tabular-nums; }
.more { margin-top: .6rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1rem; margin-top: .6rem; }
.pictures div { min-width: 0; font-size: .8125rem; line-height: 1.4; }
.pictures img, .gone {
  display: block; width: 100%; height: 8.5rem; padding: .35rem; border: 1px solid var(--line); border-radius: .6rem;
  background: #fff; object-fit: contain;
}
.gone { display: grid; place-items: center; background: none; color: var(--soft); text-align: center; }
.keep img { border: 2px solid var(--accent); }
.why { margin-top: .4rem; color: var(--soft); font-weight: 600; }
.keep .why { color: var(--accent); }
.id { overflow-wrap: anywhere; }
.size { color: var(--soft); font-variant-numeric: tabular-nums; }
summary { font-weight: 600; cursor: pointer; }
li { overflow-wrap: anywhere; font-size: .875rem; }

@media (max-width: 30rem) {
  .card { padding: .9rem; }
  .pictures { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .75rem; }
}
@media print {
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; }
}
"""
