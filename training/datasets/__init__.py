"""Labelled images: reading them, splitting their classes, and building the sets that come with Lookalike."""

from model import Failure


class DataError(Failure):
    """The data cannot be used; the message says what is wrong and what to do."""
