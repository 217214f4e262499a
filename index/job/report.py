"""What a job says: its report, and the error that it ends with when it cannot go on."""

from dataclasses import dataclass, field
from typing import Any

from model import Failure


@dataclass
class Report:
    """What a job did. ``unreadable`` maps the id of a file, or of a folder with its last slash, to the reason;
    ``indexes``: what those of the segments are worth, as ``approximate.Worth``; ``verdict``: a new bundle beside the one
    before, as ``judge.Verdict``, None where there was nothing to judge; ``seconds`` that all of it took."""

    found: int = 0
    added: int = 0
    removed: int = 0
    unchanged: int = 0
    encoded: int = 0
    owned_by_api: int = 0
    kept_deleted: int = 0
    pending: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    generation: int | None = None
    count: int = 0
    indexes: list[dict[str, Any]] = field(default_factory=list)
    verdict: dict[str, Any] | None = None
    seconds: float = 0.0


class JobError(Failure):
    """The job cannot run; the message says what to do. Search goes on as it was. ``report``: what it did up to there."""

    report: Report | None = None
