"""Measurements in, pictures out: what the figures of an evaluation look like. PNG files in a folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from model.metrics import Scores, recall_at

from .calibrate import HITS, Reliability
from .evaluate import Measurement

COLOURS = ("#12796c", "#b9862b", "#5a5f6b")
_DEEPEST = 50


def draw(folder: Path, measured: Mapping[str, Measurement], reliability: Reliability | None = None) -> list[Path]:
    """``recall.png``, ``classes.png``, ``scores.png`` and, with ``reliability``, ``calibration.png``.

    ``measured``: by the name that the legend gives it; the first one is what it is all about.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(measured.values()))
    drawings: dict[str, Callable[[Axes], None]] = {
        "recall": lambda axes: _recall(axes, measured),
        "classes": lambda axes: _classes(axes, measured),
        "scores": lambda axes: _scores(axes, first),
    }
    if reliability is not None:
        drawings["calibration"] = lambda axes: calibration(axes, reliability)
    return [_saved(folder / f"{name}.png", drawing) for name, drawing in drawings.items()]


def _saved(path: Path, drawing: Callable[[Axes], None]) -> Path:
    style: dict[Any, Any] = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.25,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        drawing(figure.add_subplot())
        figure.savefig(path, dpi=150)
    return path


def _plain(name: str) -> str:
    """``name`` as a legend shows it: as it is. A dollar sign would begin a formula, and a leading underscore hides the line."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _recall(axes: Axes, measured: Mapping[str, Measurement]) -> None:
    """R@k for every k, with the 95 % interval over classes."""
    depths = np.arange(1, _DEEPEST + 1)
    for (name, each), colour in zip(measured.items(), COLOURS, strict=False):
        first = each.found.first[each.found.answerable]
        values = np.stack([recall_at(first, int(k)) for k in depths], axis=1)
        curve = Scores(tuple(map(str, depths)), values, each.scores.classes)
        low, high = np.array(list(curve.intervals().values())).T
        axes.plot(depths, list(curve.means().values()), color=colour, label=_plain(name))
        axes.fill_between(depths, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set(
        xscale="log", ylim=(0, 1.02), xlabel="first k hits", ylabel="share of queries", title="A right hit among the first k"
    )
    axes.set_xticks([1, 2, 4, 8, 16, 32, 50], labels=["1", "2", "4", "8", "16", "32", "50"])
    axes.minorticks_off()
    axes.legend(loc="best", frameon=False)


def _classes(axes: Axes, measured: Mapping[str, Measurement]) -> None:
    """Which share of the classes has a MAP@R below each value: how many are not understood at all, how many nearly whole."""
    for (name, each), colour in zip(measured.items(), COLOURS, strict=False):
        axes.ecdf([figures["map@r"] for figures in each.scores.by_class().values()], color=colour, label=_plain(name))
    axes.set(
        xlim=(0, 1.01),
        ylim=(0, 1.02),
        xlabel="MAP@R of a class",
        ylabel="share of classes at most as good",
        title="How well each class is found (further right is better)",
    )
    axes.legend(loc="best", frameon=False)


def _scores(axes: Axes, measured: Measurement) -> None:
    found = measured.found
    there = np.isfinite(found.scores[:, :HITS])  # a service has items that are no rows
    scores, right = found.scores[:, :HITS][there].clip(-1, 1), found.right[:, :HITS][there]
    bins = np.linspace(min(float(scores.min(initial=1)), 0.99), 1, 60).tolist()
    for name, part, colour in (("wrong", scores[~right], COLOURS[1]), ("right", scores[right], COLOURS[0])):
        axes.hist(
            part,
            bins=bins,
            histtype="stepfilled",
            linewidth=1.5,
            facecolor=to_rgba(colour, 0.35),
            edgecolor=colour,
            label=f"{name} ({len(part):,})",
        )
    axes.set(xlabel="score (cosine)", ylabel="hits", title=f"Scores of the first {HITS} hits")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best", frameon=False)


def calibration(axes: Axes, reliability: Reliability, label: str = "", colour: str = COLOURS[0]) -> None:
    """What was said against what was so, in bins of equal mass."""
    said, was, _ = np.array(reliability.bins()).T
    figures = reliability.figures()
    axes.plot([0, 1], [0, 1], color="#999", linewidth=1, linestyle="--")
    named = f"{label}  ECE {figures['ece']:.3f}, Brier {figures['brier']:.3f} (constant {figures['brier_of_constant']:.3f})"
    axes.plot(said, was, color=colour, marker="o", markersize=4, label=named.strip())
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="confidence",
        ylabel="share of right hits",
        title=f"Confidence of the first {HITS} hits",
    )
    axes.legend(loc="best", frameon=False, fontsize=9)


def compared(path: Path, stage: Mapping[str, Any]) -> Path:
    """A comparison of losses: what each has less than SoftTriple, with 95 % intervals. ``stage`` as in ``compare.results``."""
    return _saved(path, lambda axes: _differences(axes, stage))


def _differences(axes: Axes, stage: Mapping[str, Any]) -> None:
    losses = {each["title"]: each for each in stage["losses"].values() if "difference" in each}
    places = np.arange(len(losses))[::-1]
    for (name, shown), colour, shift in zip((("recall@1", "R@1"), ("map@r", "MAP@R")), COLOURS, (0.13, -0.13), strict=False):
        means = np.array([-each["difference"][name]["mean"] for each in losses.values()])
        ends = -np.array([each["difference"][name]["interval"] for each in losses.values()])
        reach = np.abs(ends[:, ::-1].T - means)
        axes.errorbar(means, places + shift, xerr=reach, fmt="o", color=colour, markersize=5, capsize=3, label=shown)
    axes.axvline(0, color="#999", linewidth=1)
    axes.set_yticks(places, labels=[_plain(title) for title in losses])
    axes.set(
        xlabel="more than SoftTriple →", title=f"Beside SoftTriple, {stage['seeds']} seeds, {stage['classes']:,} test classes"
    )
    axes.legend(loc="best", frameon=False)
