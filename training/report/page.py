"""Facts in, ``report.html`` out: one page that asks nobody for a script, a font or a picture."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import watch
from ..page import whole
from ..watch import duration
from . import drawings
from .facts import Facts
from .pictures import album
from .words import interval, short, signed

FILE = "report.html"
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_TEMPLATES.filters |= {"short": short, "interval": interval, "signed": signed, "duration": duration}


def page(facts: Facts) -> str:
    """At most 5 MB, whatever was learnt from."""
    pictures = album(facts.pictures())
    style = Path(__file__).with_name("page.css").read_text()
    content = _TEMPLATES.get_template("page.html.jinja").render(
        facts=facts,
        album=pictures,
        bar=drawings.bar,
        reliability=drawings.reliability,
        map=drawings.map_of(facts.map, pictures) if facts.map else None,
        charts=Markup(watch.charts(facts.history)),
    )
    made = f"Measured network {facts.fingerprint[:16]} · {facts.dim} dimensions · how to use the bundle is in MODEL_CARD.md"
    return whole(f"{short(facts.name)} · report", content, style=style, footer=made, state="finished")
