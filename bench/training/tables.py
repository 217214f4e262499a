"""Records in, Markdown out: a line a variant, with the mean, ± the standard deviation over seeds, and the 95 % interval of the
mean (Student's t) where there are three seeds or more.

A record counts where its settings are those of the newest one of its variant; how many others there are is told below.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t

from .cells import Record, Row


@dataclass(frozen=True)
class Summary:
    mean: float
    deviation: float | None  # of two or more values
    interval: tuple[float, float] | None  # of three or more

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" ± {_number(self.deviation, self.mean)}"
        between = "" if self.interval is None else " ({} to {})".format(*(_number(each, self.mean) for each in self.interval))
        return f"{_number(self.mean, self.mean)}{spread}{between}"


def _number(value: float, like: float) -> str:
    """As many digits as a figure of the size of ``like`` is told with."""
    size = abs(like)
    return f"{value:.4f}" if size < 2 else f"{value:.2f}" if size < 20 else f"{value:,.1f}" if size < 1000 else f"{value:,.0f}"


def summary(values: Sequence[float]) -> Summary:
    mean, count = statistics.fmean(values), len(values)
    deviation = statistics.stdev(values) if count > 1 else None
    if deviation is None or count < 3:
        return Summary(mean, deviation, None)
    half = float(t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
    return Summary(mean, deviation, (mean - half, mean + half))


def newest(records: Sequence[Record]) -> dict[str, list[Record]]:
    """By variant, those with the settings of its newest one."""
    last = {each["variant"]: each["settings"] for each in sorted(records, key=lambda each: each["date"])}
    return {
        variant: [each for each in records if (each["variant"], each["settings"]) == known]
        for variant, known in ((variant, (variant, settings)) for variant, settings in last.items())
    }


def table(row: Row, records: Sequence[Record]) -> str:
    found = newest(records)
    # Only what somebody has; a figure may be missing where a variant cannot have it.
    columns = {title: key for title, key in row.columns.items() if any(key in each["figures"] for each in records)}
    lines = [f"### {row.name}", "", row.question, "", _line(["", "seeds", *columns]), _line(["---"] * (len(columns) + 2))]
    for variant, those in found.items():
        lines.append(_line([variant, str(len(those)), *(_cell(those, key) for key in columns.values())]))
    return "\n".join([*lines, "", _told(found, len(records))])


def _cell(records: Sequence[Record], key: str) -> str:
    values = [each["figures"][key] for each in records if each["figures"].get(key) is not None]
    if not values:
        return ""
    if all(isinstance(value, int) and value == values[0] for value in values):
        return f"{values[0]:,}"
    return str(summary(values)) if all(isinstance(value, int | float) for value in values) else str(values[-1])


def _told(found: dict[str, list[Record]], count: int) -> str:
    """Where and when."""
    records = [each for those in found.values() for each in those]
    commits = sorted({each["commit"]["hash"][:7] + " and changes" * each["commit"]["dirty"] for each in records})
    places = sorted(
        {"{cores} cores ({threads} threads) of {processor}, torch {torch}".format(**each["machine"]) for each in records}
    )
    days = sorted({each["date"][:10] for each in records})
    loads = [each["load"]["before"][0] for each in records]
    older = f" {count - len(records)} records with other settings are left out." if count > len(records) else ""
    return (
        f"{'; '.join(places)}; {' to '.join(dict.fromkeys((days[0], days[-1])))}; commit {', '.join(commits)}; "
        f"{sum(each['seconds'] for each in records):,.0f} s in all; load before {min(loads):.1f} to {max(loads):.1f}.{older}"
    )


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
