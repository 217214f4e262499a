"""What a training was worth in, what convinces somebody out: ``report.html``, a page for people, and ``MODEL_CARD.md``.

``facts`` gathers what is to be said, with ``answers`` (queries, confusions), ``modes`` (portraits of centres), ``projection``
(the map) and ``origins`` (licences, versions); ``page`` makes HTML of it, ``card`` Markdown.
"""

from model.bundle import Bundle

from .card import FILE as CARD
from .card import card, card_of_backbone
from .facts import Material, gather
from .page import FILE as PAGE
from .page import page
from .pictures import Images

__all__ = ["CARD", "PAGE", "Images", "Material", "of_backbone", "report"]


def report(material: Material) -> dict[str, str]:
    """``report.html`` and ``MODEL_CARD.md``, by their names: text for the bundle."""
    facts = gather(material)
    return {PAGE: page(facts), CARD: card(facts)}


def of_backbone(bundle: Bundle) -> dict[str, str]:
    """``MODEL_CARD.md`` of a bundle that learnt nothing."""
    return {CARD: card_of_backbone(bundle.manifest)}
