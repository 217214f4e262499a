"""What is wrong with labelled images: one record a problem, all of them told at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from . import DataError

Severity = Literal["error", "warning"]

# Errors stop a run; warnings are told, and the run goes on.
KINDS: dict[str, Severity] = {
    "bad-row": "error",
    "empty-value": "error",
    "repeated-image": "error",
    "unknown-split": "error",
    "unknown-role": "error",
    "bad-box": "error",
    "two-groups": "error",
    "missing-file": "error",
    "unreadable-image": "error",
    "box-outside": "error",
    "query-without-gallery": "error",
    "single-image": "warning",
    "same-content": "warning",
    "near-duplicate": "warning",
    "label-in-splits": "warning",
    "group-in-splits": "warning",
    "imbalance": "warning",
}
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """``rows`` as the source counts them: lines of a CSV or JSONL file, rows of a Parquet file, images of a folder in order."""

    kind: str
    rows: tuple[int, ...]
    message: str

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind]

    def __str__(self) -> str:
        if not self.rows:
            return self.message
        listed = ", ".join(map(str, self.rows[:5])) + (f" and {len(self.rows) - 5:,} more" if len(self.rows) > 5 else "")
        return f"row{'s' if len(self.rows) > 1 else ''} {listed}: {self.message}"


def errors(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]


def refuse(source: object, problems: Sequence[Problem], all_of_them: str = "") -> None:
    """Raises ``DataError`` that lists the errors among ``problems``; does nothing where there are only warnings.

    ``all_of_them``: where to see those that the sentence has no room for.
    """
    if found := errors(problems):
        more = [f"and {len(found) - _SHOWN:,} more{all_of_them}"] if len(found) > _SHOWN else []
        raise DataError("\n  ".join([f"{source} cannot be used:", *map(str, found[:_SHOWN]), *more]))
