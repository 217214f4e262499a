"""A gallery in, a new generation of a collection out (``job``), at the cost of what changed; ``rehearsal``: what it would cost.

On its way: ``diff`` (what changed), ``reading`` (bytes, checked, in order), ``room`` (on the disk), ``keeping`` (what a
collection has of its own), ``judge`` (a new bundle beside the one before). ``report`` is what it tells, ``pace`` what it
remembers.
"""

from .job import run
from .report import JobError, Report

__all__ = ["JobError", "Report", "run"]
