"""A training's plan and history in, what people watch out: one page, and the words that the terminal shows too.

``plan`` is known before the training starts; ``history`` has a record an epoch, as in ``history.jsonl``. ``now`` is what a
step told that is newer than the last epoch: ``phase``, ``epoch``, ``epochs``, ``step``, ``steps``, ``seconds``, ``loss``,
``images_per_second``. Any value may be missing, null or not a number: then nothing is said of it.

``status`` is ``running``, ``finished``, ``diverged`` or ``stopped``, or a sentence that begins so; what stands in
`backticks` is shown as a command. The page is whole in itself: it asks nobody for a script, a font or a picture.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from .page import whole

Record = Mapping[str, Any]

FILE = "progress.html"
FIGURES = {"map@r": "MAP@R", "recall@1": "R@1"}
_AGAIN = 5  # seconds after which a page of a running training loads itself again
_RECENT = 5  # epochs that the time left is estimated from: their pictures may have grown, and a resumed run has its own pace


def write(folder: Path, plan: Record, history: Sequence[Record], status: str, now: Record | None = None) -> None:
    """Make or replace ``progress.html``; whoever opens it meanwhile finds the page before or this one."""
    unfinished = folder / f"{FILE}.new"
    # A name that came from a file system may hold what UTF-8 does not have.
    unfinished.write_text(page(plan, history, status, now), encoding="utf-8", errors="xmlcharrefreplace")
    unfinished.replace(folder / FILE)


# Words


def described(plan: Record) -> dict[str, str]:
    """What a training is going to do, a row a subject."""
    processes = plan.get("processes") or 1
    each = f"{processes} × " if processes > 1 else ""
    rows = {
        "trained on": _amount(plan, ""),
        "validation": _amount(plan, "validation_"),
        "test": _amount(plan, "test_"),
        "network": [
            _text(plan.get("backbone")),
            _said("{:,.0f} dimensions", plan.get("dim")),
            _said("{} parameters", _short(plan.get("parameters"))),
        ],
        "centres": [_said("{} parameters", _short(plan.get("center_parameters")))],
        "schedule": [
            counted(plan.get("epochs"), "epoch"),
            " of ".join(filter(None, [counted(plan.get("steps"), "step"), _said(each + "{:,.0f} images", plan.get("batch"))])),
        ],
        "machine": [
            _text(plan.get("device")),
            counted(processes, "process", "es") if processes > 1 else "",
            _said("{:.3g} GB of memory", plan.get("memory_gb")),
            _said("{:.3g} GB free", plan.get("memory_available_gb")),
        ],
        "pixels": [_text(plan.get("pixels")), _said("{:.3g} GB", plan.get("pixels_gb"))],
        "takes": [_said("about {}", _minutes(plan.get("minutes"))), _said("{:,.0f} images/s", plan.get("images_per_second"))],
    }
    return {subject: said for subject, parts in rows.items() if (said := " · ".join(filter(None, parts)))}


def _amount(plan: Record, split: str) -> list[str]:
    return [counted(plan.get(f"{split}classes"), "class", "es"), counted(plan.get(f"{split}images"), "image")]


def _latest(history: Sequence[Record], now: Record | None) -> Record:
    return now or (history[-1] if history else {})


def note(history: Sequence[Record], now: Record | None = None) -> str:
    """Where a training stands, in one line."""
    latest = _latest(history, now)
    figure, top = score(_measured(history, latest.get("phase")), "map@r"), score(best(history), "map@r")
    parts = [
        place(latest),
        _said("loss {}", loss(latest)),
        _said("MAP@R {:.3f}", figure) + _said(" (best {:.3f})", top) if figure is not None else "",
        _said("{:,.0f} images/s", latest.get("images_per_second")),
    ]
    return " · ".join(filter(None, parts))


def place(record: Record) -> str:
    """Which epoch of how many; none, for what was before the first."""
    if record.get("epoch") is None:
        return ""
    if record["epoch"] == 0:
        return "head alone"
    of = _said("/{:.0f}", record.get("epochs"))
    return ("all classes, " if record.get("phase") == "final" else "") + f"epoch {record['epoch']}{of}"


def loss(record: Record) -> str:
    """Four digits or so; empty where there is none."""
    value = number(record.get("loss"))
    return "" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def score(record: Record | None, name: str) -> float | None:
    """A figure on the validation classes."""
    return None if record is None else number((record.get("validation") or {}).get(name))


def best(history: Sequence[Record]) -> Record | None:
    """The epoch whose network is kept: every one is marked that was better than all before it."""
    return next((record for record in reversed(history) if record.get("best")), None)


def _measured(history: Sequence[Record], phase: object) -> Record | None:
    """The last epoch of a run that has figures."""
    run = (record for record in reversed(history) if record.get("phase") == phase)
    return next((record for record in run if score(record, "map@r") is not None), None)


def seconds_left(history: Sequence[Record], now: Record | None = None) -> float | None:
    """Until the run that is going on ends, at the pace of its last epochs; None where that cannot be known yet."""
    latest = _latest(history, now)
    run = [each for each in (*history, latest) if each.get("phase") == latest.get("phase")]
    marks = [(number(each.get("step")), number(each.get("seconds"))) for each in run]
    known = [(step, seconds) for step, seconds in marks if step is not None and seconds is not None]
    if run[0].get("epoch") != 0:  # else it begins when the head was trained
        known.insert(0, (0.0, 0.0))
    steps = number(latest.get("steps"))
    if steps is None or not known:
        return None
    (start, began), (step, seconds) = known[-_RECENT - 1 :][0], known[-1]
    return None if step <= start or seconds <= began else max(0.0, steps - step) * (seconds - began) / (step - start)


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def number(value: Any) -> float | None:
    """A value that can be shown and drawn; None for all others."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def counted(value: Any, what: str, ending: str = "s") -> str:
    """``3 epochs``; empty where there is no number."""
    return "" if (count := number(value)) is None else f"{count:,.0f} {what}{'' if count == 1 else ending}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _said(form: str, value: Any) -> str:
    """``form`` with the value in it; empty where there is no value."""
    there = value if isinstance(value, str) and value else number(value)
    return "" if there is None else form.format(there)


def _short(value: Any) -> str:
    if (there := number(value)) is None:
        return ""
    return f"{there / 1e6:.3g} million" if there >= 1e6 else f"{there:,.0f}"


def _minutes(value: Any) -> str:
    return "" if (minutes := number(value)) is None else duration(60 * minutes)


# The page


def page(plan: Record, history: Sequence[Record], status: str, now: Record | None = None) -> str:
    """``progress.html``: where a training stands, its curves, its epochs and its plan."""
    state, name = _state(status), _text(plan.get("name")) or "Training"
    share = _share(history, now, state)
    again = _AGAIN if state == "running" else None
    closing = (
        f"This page loads itself again every {_AGAIN} seconds."
        if again
        else "The training is not running: this page does not load itself again."
    )
    content = f"""<section class="head">
<h1>{escape(name)}</h1> <span class="state">{escape(state)}</span>
{_sentence(status)}
{_progress(plan, history, state, now, share)}
</section>
{_tiles(history, now)}
{charts(history)}
<div class="tables">
{_plan(plan)}
{_epochs(history)}
</div>"""
    title = f"{f'{share:.0%}' if state == 'running' else state} · {name}"
    return whole(title, content, footer=closing, state=state if state in _STATES else "other", again=again)


_STATES = ("running", "stopped", "finished", "diverged")


def _state(status: str) -> str:
    return re.split(r"\W", status.strip(), maxsplit=1)[0].lower()


def _sentence(status: str) -> str:
    """What a status says beyond its first word."""
    if not status.strip()[len(_state(status)) :].strip(" .:"):
        return ""
    said = status.strip()[:1].upper() + status.strip()[1:]
    return "<p>" + re.sub("`([^`]+)`", r"<code>\1</code>", escape(said)) + "</p>"


def _share(history: Sequence[Record], now: Record | None, state: str) -> float:
    """How much of the run that is going on is done, 0 to 1."""
    latest = _latest(history, now)
    step, steps = number(latest.get("step")), number(latest.get("steps"))
    return 1.0 if state == "finished" else min(1.0, step / steps) if step and steps else 0.0


def _progress(plan: Record, history: Sequence[Record], state: str, now: Record | None, share: float) -> str:
    latest = _latest(history, now)
    step, steps, seconds = (number(latest.get(name)) for name in ("step", "steps", "seconds"))
    steps_done = "" if step is None or steps is None else f"step {step:,.0f} of {steps:,.0f}"
    done = " · ".join(filter(None, [place(latest), steps_done])) or "The first epoch has not ended yet."
    left = seconds_left(history, now)
    if state != "running":
        time = "" if seconds is None else f"after {duration(seconds)}"
    else:
        time = _said("about {} in all", _minutes(plan.get("minutes"))) if left is None else f"about {duration(left)} left"
    bar = f'<div class="bar" role="progressbar" aria-label="Training" aria-valuenow="{100 * share:.0f}">'
    return f"""{bar}<i style="width:{share:.2%}"></i></div>
<p class="under"><span>{escape(done)}</span><span>{escape(time)}</span></p>"""


def _tiles(history: Sequence[Record], now: Record | None) -> str:
    latest, top = _latest(history, now), best(history)
    if not latest:
        return ""
    when = f"best, {place({'epoch': top.get('epoch')})}" if top else ""
    size = latest.get("size") or (history[-1].get("size") if history else None)
    tiles = {
        "loss": (loss(latest), "training"),
        "MAP@R": (_said("{:.3f}", score(top, "map@r")), when),
        "R@1": (_said("{:.3f}", score(top, "recall@1")), when),
        "images/s": (_said("{:,.0f}", latest.get("images_per_second")), _said("of {:.0f} pixels", size)),
    }
    shown = (
        f"<div><dt>{name}</dt><dd>{value or '–'}</dd><dd>{escape(more)}</dd></div>" for name, (value, more) in tiles.items()
    )
    return f'<dl class="tiles">{"".join(shown)}</dl>'


def _plan(plan: Record) -> str:
    said = {subject: escape(text).replace(" · ", "&nbsp;· ") for subject, text in described(plan).items()}  # no line begins so
    rows = "".join(f"<tr><th>{subject}</th><td>{text}</td></tr>" for subject, text in said.items())
    return f'<section class="plan"><h2>Plan</h2><table>{rows}</table></section>' if rows else ""


def _epochs(history: Sequence[Record]) -> str:
    """The epochs, the last one first: whoever looks wants that."""
    if not history:
        return ""
    top, several = best(history), len({record.get("phase") for record in history}) > 1
    names = ["epoch", "loss", *FIGURES.values(), "learning rate", "images/s", "time"]
    rows = "".join(_epoch(record, record is top, several) for record in reversed(history))
    head = "".join(f"<th>{name}</th>" for name in names)
    return (
        f'<section class="epochs"><h2>Epochs</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></section>'
    )


def _epoch(record: Record, top: bool, several: bool) -> str:
    epoch = escape(_text(record.get("epoch"))) + (" of all classes" if several and record.get("phase") == "final" else "")
    seconds = number(record.get("seconds"))
    cells = [
        epoch
        + (f'<svg class="star" viewBox="0 0 24 24" role="img" aria-label="best"><path d="{_STAR}"/></svg>' if top else ""),
        loss(record),
        *(_said("{:.3f}", score(record, name)) for name in FIGURES),
        _said("{:.2g}", record.get("learning_rate")),
        _said("{:,.0f}", record.get("images_per_second")),
        "" if seconds is None else str(timedelta(seconds=round(seconds))),
    ]
    return f"<tr{' class=top' if top else ''}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


# The curves


@dataclass(frozen=True)
class _Curve:
    """Values by epoch; ``shade`` is its class in the style sheet."""

    name: str
    shade: str
    values: Mapping[int, float | None]

    @cached_property
    def known(self) -> dict[int, float]:
        return {epoch: value for epoch, value in self.values.items() if value is not None}


_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 360, 190, 40, 12, 12, 24
_MOST_DOTS = 24  # epochs of a drawing
_STAR = "M12 2.5l2.9 6 6.6.9-4.8 4.6 1.2 6.5-5.9-3.2-5.9 3.2 1.2-6.5L2.5 9.4l6.6-.9z"


@dataclass(frozen=True)
class _Frame:
    """Epochs and values → places in the drawing."""

    start: int
    end: int
    rows: Sequence[float]

    def x(self, epoch: float) -> float:
        return _LEFT + (epoch - self.start) * (_WIDTH - _LEFT - _RIGHT) / max(1, self.end - self.start)

    def y(self, value: float) -> float:
        return _TOP + (self.rows[-1] - value) * (_HEIGHT - _TOP - _BOTTOM) / (self.rows[-1] - self.rows[0])


def charts(history: Sequence[Record]) -> str:
    """Curves of the loss and of the figures; empty where there is nothing to draw."""
    runs = {phase: [each for each in history if each.get("phase") == phase] for phase in ("train", "final")}
    losses = {phase: {_epoch_of(each): number(each.get("loss")) for each in run} for phase, run in runs.items()}
    ended = [number(each.get("epochs")) or 0 for each in history]
    end = int(max([1, *ended, *map(_epoch_of, history)]))
    top = best(history)
    drawn = [
        _chart(
            "Loss by epoch",
            [_Curve("training classes", "loss", losses["train"]), _Curve("all classes", "final", losses["final"])],
            end,
        ),
        _chart(
            "Validation by epoch",
            [
                _Curve(name, shade, {_epoch_of(each): score(each, figure) for each in runs["train"]})
                for (figure, name), shade in zip(FIGURES.items(), ("first", "second"), strict=True)
            ],
            end,
            None if top is None else _epoch_of(top),
        ),
    ]
    return f'<section class="charts">{"".join(drawn)}</section>' if any(drawn) else ""


def _epoch_of(record: Record) -> int:
    return int(number(record.get("epoch")) or 0)


def _chart(title: str, curves: Sequence[_Curve], end: int, top: int | None = None) -> str:
    """Curves over all epochs that are planned, ``top`` with a star; empty where there is nothing to show."""
    curves = [curve for curve in curves if curve.known]
    if not curves:
        return ""
    values = [value for curve in curves for value in curve.known.values()]
    start = min(min(curve.values) for curve in curves)
    frame = _Frame(start, end, _ticks(min(values), max(values), 4))
    legend = "".join(
        f'<span class="{curve.shade}">{curve.name} <b>{list(curve.known.values())[-1]:.3f}</b></span>' for curve in curves
    )
    marks = [_star(frame, top, curve.known[top]) for curve in curves[:1] if top in curve.known]
    drawing = "".join([_axes(frame), *(_line(frame, curve) for curve in curves), *marks, _columns(frame, curves)])
    return f"""<figure><figcaption><h2>{title}</h2><p>{legend}</p></figcaption>
<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">{drawing}</svg></figure>"""


def _axes(frame: _Frame) -> str:
    digits = max(0, -math.floor(math.log10(frame.rows[1] - frame.rows[0]) + 1e-9))
    parts = [f'<path class="grid" d="M{_LEFT} {frame.y(row):.1f}H{_WIDTH - _RIGHT}"/>' for row in frame.rows]
    parts += [f'<text class="row" x="{_LEFT - 8}" y="{frame.y(row) + 4:.1f}">{row:.{digits}f}</text>' for row in frame.rows]
    epochs = [tick for tick in _ticks(frame.start, frame.end, 6) if tick == int(tick) and frame.start <= tick <= frame.end]
    parts += [f'<text x="{frame.x(epoch):.1f}" y="{_HEIGHT - 5}">{epoch:.0f}</text>' for epoch in epochs]
    return "".join(parts)


def _line(frame: _Frame, curve: _Curve) -> str:
    """A line that is interrupted where there is no value; dots, while there are few enough to tell them apart."""
    path, pen = [], "M"
    for epoch, value in curve.values.items():
        if value is not None:
            path.append(f"{pen}{frame.x(epoch):.1f} {frame.y(value):.1f}")
        pen = "M" if value is None else "L"
    dots = [f"M{frame.x(epoch):.1f} {frame.y(value):.1f}h0" for epoch, value in curve.known.items()]
    drawn = "".join(dots) if frame.end - frame.start <= _MOST_DOTS else ""
    return f'<path class="line {curve.shade}" d="{"".join(path)}"/><path class="dots {curve.shade}" d="{drawn}"/>'


def _star(frame: _Frame, epoch: int, value: float) -> str:
    x, y = frame.x(epoch), frame.y(value)
    stem = f'<path class="stem" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
    return f'{stem}<path class="star" transform="translate({x - 9:.1f} {y - 9:.1f}) scale(.75)" d="{_STAR}"/>'


def _columns(frame: _Frame, curves: Sequence[_Curve]) -> str:
    """What a pointer that rests on an epoch is told."""
    width = frame.x(frame.start + 1) - frame.x(frame.start)
    told = {
        epoch: ", ".join(
            [f"epoch {epoch}", *(f"{each.name} {each.known[epoch]:.3f}" for each in curves if epoch in each.known)]
        )
        for epoch in sorted({epoch for curve in curves for epoch in curve.known})
    }
    return "".join(
        f'<rect x="{frame.x(epoch) - width / 2:.1f}" y="{_TOP}" width="{width:.1f}" height="{_HEIGHT - _TOP - _BOTTOM}">'
        f"<title>{text}</title></rect>"
        for epoch, text in told.items()
    )


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers, evenly apart, from ``low`` or less to ``high`` or more."""
    if low == high:
        low, high = low - (abs(low) / 10 or 1.0), high + (abs(high) / 10 or 1.0)
    span = high - low
    unit = 10.0 ** math.floor(math.log10(span / about))
    step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= span / about)
    first = math.floor(low / step + 1e-9)
    count = max(1, math.ceil(high / step - 1e-9) - first)
    return [round((first + place) * step, 12) for place in range(count + 1)]
