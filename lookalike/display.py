"""How work and results look in a terminal: progress bars, epochs and tables; without a terminal, lines that a log can keep."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from index.duplicates import Cluster, Duplicates
from index.job.rehearsal import Rehearsal
from index.job.report import Report
from training import watch
from training.datasets.problems import Problem

from .duplicates import shape, size, told

FIGURES = {
    "recall@1": "R@1",
    "recall@2": "R@2",
    "recall@4": "R@4",
    "recall@8": "R@8",
    "r_precision": "R-prec.",
    "map@r": "MAP@R",
    "mrr": "MRR",
    "nmi": "NMI",
}
_COMPARED = ("recall@1", "map@r")
_SHOWN_PROBLEMS, _SHOWN_CLASSES, _SHOWN_CLUSTERS, _SHOWN_COPIES = 20, 15, 20, 5
_BARS = "▁▂▃▄▅▆▇█"


_NO_HELP = (
    "[yellow]Training did not help:[/] on the test classes the backbone as it is finds the right image first more often. "
    "Look for wrong labels with `lookalike data check`, give more classes, or try a lower learning_rate or fewer epochs. "
    "`lookalike bundle` makes a bundle of the backbone as it is."
)
_TOO_GOOD = (
    "[yellow]These figures may be too good:[/] the bundle, or one that it started from, was trained on all classes in a final "
    "fit, or on classes that were split otherwise. If these pictures were among them, it has seen the test classes before."
)


@contextmanager
def progress(console: Console, rate: str = "") -> Iterator[Progress]:
    """``rate``: the unit of a column with what is done in a second, e.g. "images/s"; without it there is none."""
    columns = (
        TextColumn("{task.description:<17}"),
        BarColumn(bar_width=20 if rate else 28),
        _Count(),
        *([_Rate(rate)] if rate else []),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with _WithNote(*columns, console=console) as bars:
        yield bars
        _end_uncounted(bars)


def begin(progress: Progress, what: str) -> None:
    """A task of which nobody can say how far it is follows the one before."""
    _end_uncounted(progress)
    progress.add_task(what, total=None, counted=False)


def _end_uncounted(progress: Progress) -> None:
    for task in progress.tasks:
        if task.total is None:
            end = max(1, task.completed)
            progress.update(task.id, total=end, completed=end)


class _Count(MofNCompleteColumn):
    def render(self, task: Task) -> Text:
        return super().render(task) if task.fields.get("counted", True) else Text("")


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        shown = speed and task.fields.get("counted", True)
        return Text(f"{speed:,.0f} {self._unit}" if shown else "", style="progress.data.speed")


class _WithNote(Progress):
    """Every task has a note, empty until somebody writes one; it has a line of its own while the task goes on."""

    def add_task(self, description: str, *args: Any, **fields: Any) -> Any:
        return super().add_task(description, *args, **{"note": "", **fields})

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["note"] and task.visible and not task.finished:
                yield Text(task.fields["note"], style="dim")


def plan(console: Console, plan: Mapping[str, Any]) -> None:
    """What a training is going to do, before it does it."""
    console.print(Text(plan.get("name") or "Training", style="bold"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for subject, said in watch.described(plan).items():
        table.add_row(subject, Text(said))
    console.print(table)


def epoch(console: Console, history: Sequence[Mapping[str, Any]]) -> None:
    """The last epoch of a training: in a terminal with the curves so far, in a log as a plain line."""
    last = history[-1]
    run = [record for record in history if record["phase"] == last["phase"]]
    if console.is_terminal:
        console.print(_epoch(run, last is watch.best(history)))
    else:
        left = watch.seconds_left(history)
        ahead = f" · {watch.duration(left)} left" if left else ""
        console.print(watch.note(history) + ahead, markup=False, soft_wrap=True)


def _epoch(run: Sequence[Mapping[str, Any]], best: bool) -> Text:
    """Aligned with the lines before it, and within 80 columns up to epoch 999 of 999."""
    curves = {"loss": [watch.number(each.get("loss")) for each in run]}
    curves |= {shown: [watch.score(each, name) for each in run] for name, shown in watch.FIGURES.items()}
    line = Text(f"{watch.place(run[-1]):<{max(10, 7 + 2 * len(str(run[-1].get('epochs'))))}}")
    for name, values in curves.items():
        there = any(value is not None for value in values)
        value = "" if not there else "–" if values[-1] is None else f"{values[-1]:.3f}"
        line.append(f"  {name if there else '':<{len(name)}} ", style="dim").append(f"{value:>5}")
        if name != "R@1":
            line.append(f" {sparkline(values):<10}", style="cyan")
    line.rstrip()
    return line.append(" ★" if best else "", style="yellow")


def sparkline(values: Sequence[float | None], width: int = 10) -> str:
    """A curve in ``width`` letters at most: the more values, the more of them share a letter. Blank where there is none."""
    letters = min(width, len(values))
    ends = [len(values) * place // letters for place in range(letters + 1)] if letters else []
    parts = [values[start:end] for start, end in pairwise(ends)]
    known = [[value for value in part if value is not None] for part in parts]
    means = [sum(part) / len(part) if part else None for part in known]
    there = [mean for mean in means if mean is not None]
    low, span = min(there, default=0.0), max(there, default=0.0) - min(there, default=0.0)
    return "".join(" " if mean is None else _BARS[round(7 * (mean - low) / span) if span else 3] for mean in means)


def figures(console: Console, found: dict[str, Any]) -> None:
    """The figures of an evaluation as a table, with their intervals, and what they are compared with."""
    console.print(_figures(found, f"{found['queries']:,} queries of {found['classes']:,} classes"))
    if found.get("saw_tests"):
        console.print(_TOO_GOOD)
    if "run" in found:
        console.print("Figures are of the run on the training classes; the bundle's network was then trained on all classes.")
    if masked := found.get("masked"):
        both = masked | ({"backbone": found["backbone"]["masked"]} if "backbone" in found else {})
        console.print(_figures(both, f"the same, hits of the query's own {masked['by']} left out"))
    if found["distractors"]:
        console.print(f"{found['distractors']:,} more images have no second one of their class: they are only in the way.")
    if trust := found.get("calibration"):
        console.print(
            f"Confidences of first hits, half of the queries without an answer: calibration error {trust['ece']:.3f}, "
            f"Brier score {trust['brier']:.3f} (a constant has {trust['brier_of_constant']:.3f})."
        )
    elif "gains" in found:
        console.print("Hits will carry no confidence: that takes at least 20 validation classes of two images or more.")
    if "backbone" in found and found["backbone"]["recall@1"] > found["recall@1"]:
        console.print(_NO_HELP)
    if centers := found.get("centers"):
        several = len(centers["distinct"])
        console.print(f"Of the {several} centres of a class {centers['distinct_mean']:.1f} differ, on average (cosine < 0.95).")
    if "by_class" in found:
        _by_class(console, found["by_class"])
    for path in found.get("plots", ()):
        console.print(path, markup=False, soft_wrap=True)


def _figures(found: dict[str, Any], title: str) -> Table:
    """A row a figure; with ``backbone`` and ``gains``, what is compared."""
    table = Table("", title=Text(title), title_justify="left")
    for name in ("backbone", "trained", "gained") if "backbone" in found else ("measured",):
        table.add_column(name, justify="right", no_wrap=True)
    for name, shown in FIGURES.items():
        if name in found:
            cells = [f"[bold]{found[name]:.4f}[/] {_interval(found['intervals'].get(name), '.3f')}"]
            if "backbone" in found:
                gain = found["gains"].get(name)
                cells = [f"{found['backbone'][name]:.4f}", *cells]
                cells.append("" if gain is None else f"{gain['mean']:+.4f} {_interval(gain['interval'], '+.3f')}")
            table.add_row(shown, *cells)
    return table


def _interval(ends: Sequence[float] | None, form: str) -> str:
    """95 %, over classes."""
    return "" if ends is None else f"[dim]{ends[0]:{form}} to {ends[1]:{form}}[/]"


def _by_class(console: Console, classes: dict[str, dict[str, float]]) -> None:
    """The classes that are found worst; --json has all."""
    table = Table(title=f"The worst of {len(classes):,} classes; all of them with --json", title_justify="left")
    for name in ("class", "queries", "R@1", "MAP@R"):
        table.add_column(name, justify="left" if name == "class" else "right", overflow="fold")
    for label, each in sorted(classes.items(), key=lambda item: item[1]["map@r"])[:_SHOWN_CLASSES]:
        table.add_row(Text(label), f"{each['queries']:,}", f"{each['recall@1']:.4f}", f"{each['map@r']:.4f}")
    console.print(table)


def compared(console: Console, found: Mapping[str, Any]) -> None:
    """A comparison of losses, for each stage: what SoftTriple has more, further figures, and what a run cost."""
    for stage, each in found["stages"].items():
        told = f"{stage}: {each['seeds']} seeds, {each['queries']:,} queries of {each['classes']:,} test classes"
        console.print(_beside(each["losses"], told, "figures", "difference"))
        if any("masked" in loss for loss in each["losses"].values()):
            console.print(_beside(each["losses"], "the same, masked", "masked", "masked_difference"))
        console.print(_costs(each["losses"]))
    console.print("± over seeds; 95 % intervals over seeds and classes. Bold: SoftTriple is better, or worse, beyond doubt.")
    for path in found["plots"]:
        console.print(path, markup=False, soft_wrap=True)


def _beside(losses: Mapping[str, Any], title: str, figures: str, difference: str) -> Table:
    """Within 80 columns, and so are its costs."""
    table = _plain("loss", "R@1", "MAP@R", "SoftTriple has more R@1", title=title)
    for each in losses.values():
        shown = [f"{each[figures][name]['mean']:.3f} [dim]± {each[figures][name]['deviation']:.3f}[/]" for name in _COMPARED]
        table.add_row(each["title"], *shown, _difference(each.get(difference)))
    return table


def _difference(differences: Mapping[str, Any] | None) -> str:
    if differences is None:
        return ""
    low, high = differences["recall@1"]["interval"]
    told = f"{differences['recall@1']['mean']:+.3f}"
    return f"{f'[bold]{told}[/]' if low > 0 or high < 0 else told} {_interval((low, high), '+.3f')}"


def _costs(losses: Mapping[str, Any]) -> Table:
    """``tuples``: pairs or triplets that a loss was given."""
    table = _plain("loss", "R@2", "R@4", "R@8", "R-prec.", "s", "img/s", "GB", "tuples")
    forms = {"seconds": "{:,.1f}", "images_per_second": "{:,.0f}", "peak_gb": "{:.2f}"}
    for each in losses.values():
        shown = [f"{each['figures'][name]['mean']:.3f}" for name in ("recall@2", "recall@4", "recall@8", "r_precision")]
        shown += ["" if each["cost"][name] is None else form.format(each["cost"][name]) for name, form in forms.items()]
        visited = each["cost"]["visited"]
        table.add_row(each["title"], *shown, "none" if visited is None else f"{visited / 1e6:,.1f} M")
    return table


def _plain(first: str, *others: str, title: str = "") -> Table:
    heading = Text(title, style="bold") if title else None
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=heading, title_justify="left")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def checked(console: Console, found: dict[str, Any], problems: Sequence[Problem]) -> None:
    """What is in labelled pictures, and all that is wrong with them."""
    console.print(found["source"], markup=False, soft_wrap=True)
    table = Table("split")
    for name in ("classes", "images"):
        table.add_column(name, justify="right")
    for split, counts in found["splits"].items():
        table.add_row(split, f"{counts['classes']:,}", f"{counts['images']:,}")
    console.print(table)
    for kind, group in groupby(problems, key=lambda problem: problem.kind):
        listed = list(group)
        colour = "red" if listed[0].severity == "error" else "yellow"
        console.print(f"[{colour}]{listed[0].severity}: {kind}[/], {len(listed):,} of them")
        for problem in listed[:_SHOWN_PROBLEMS]:
            console.print(f"  {problem}", markup=False, soft_wrap=True)
        if len(listed) > _SHOWN_PROBLEMS:
            console.print(f"  … and {len(listed) - _SHOWN_PROBLEMS:,} more; all of them with --json")
    console.print(f"{watch.counted(found['errors'], 'error')}, {watch.counted(found['warnings'], 'warning')}.")


def audited(console: Console, found: Mapping[str, Any], page: Path | None) -> None:
    """The first suspects of an audit of labels, how many labels are probably wrong, and what was not judged."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"{found['judged']:,} labels judged", title_justify="left")
    for name in ("row", "wrong?"):
        table.add_column(name, justify="right")
    for name in ("picture", "label", "looks like"):
        table.add_column(name, overflow="fold")
    for each in found["suspects"][:_SHOWN_PROBLEMS]:
        names = (Text(each[name]) for name in ("path", "label", "looks_like"))
        table.add_row(str(each["number"]), f"{each['probability']:.0%}", *names)
    console.print(table)
    likely = watch.counted(found["likely"], "label")
    console.print(
        f"[bold]{likely}[/] likelier wrong than right; about {found['expected']:,.0f} wrong in all, if mistakes are random."
    )
    console.print("Where look-alike classes were confused the percentages are too low: then go by the order.")
    if alone := len(found["not_judged"]):
        console.print(f"{watch.counted(alone, 'picture')} could not be judged: the only one of its label.")
    told = f"Pictures of them: {page}" if page else "With --page suspects.html: their pictures, beside those of both labels."
    console.print(told, markup=False, soft_wrap=True)


def duplicates(console: Console, found: Duplicates, page: Path | None) -> None:
    """The first clusters of copies, what all of them take on the disk, and what could not be looked at."""
    if found.clusters:
        console.print(_clusters(found.clusters[:_SHOWN_CLUSTERS]))
    if (more := len(found.clusters) - _SHOWN_CLUSTERS) > 0:
        console.print(f"… and {watch.counted(more, 'more picture')} with copies; all of them with --json")
    free = f": {size(found.bytes)} could be free. Nothing was removed." if found.clusters else "."
    console.print(f"[bold]{told(found)}[/] among {watch.counted(found.items, 'item')}{free}")
    if found.pending:
        waiting = watch.counted(found.pending, "item")
        console.print(f"{waiting} without a vector: only copies of the same file are found until `lookalike index` runs.")
    if found.unreadable:
        console.print(f"[yellow]{watch.counted(len(found.unreadable), 'item')} could not be looked at:")
        for id, reason in sorted(found.unreadable.items())[:_SHOWN_PROBLEMS]:
            console.print(f"  {id}: {reason}", markup=False, soft_wrap=True)
        if (more := len(found.unreadable) - _SHOWN_PROBLEMS) > 0:
            console.print(f"  … and {more:,} more; all of them with --json")
    if page or found.clusters:
        pictures = f"Pictures of them: {page}" if page else "With --page duplicates.html: their pictures."
        console.print(pictures, markup=False, soft_wrap=True)


def _clusters(clusters: Sequence[Cluster]) -> Table:
    """What is to be kept, and below it its copies."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("picture", overflow="fold", ratio=1)
    table.add_column("", no_wrap=True)
    for name in ("pixels", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for cluster in clusters:
        more = len(cluster.copies) - _SHOWN_COPIES
        pictures = [(cluster.keep, "keep"), *((copy.picture, copy.why) for copy in cluster.copies[:_SHOWN_COPIES])]
        for place, (picture, said) in enumerate(pictures):
            id = Text(picture.item.id, style="" if place else "bold")
            last = more <= 0 and place == len(pictures) - 1
            table.add_row(
                Padding(id, (0, 0, 0, 2 if place else 0)), said, shape(picture), size(picture.item.size), end_section=last
            )
        if more > 0:
            table.add_row(f"  … and {more:,} more of it", end_section=True)
    return table


def warnings(console: Console, problems: Sequence[Problem], source: Path) -> None:
    """What is doubtful in data that is used all the same: each kind with its first example."""
    if not problems:
        return
    console.print(f"[yellow]{watch.counted(len(problems), 'warning')}[/]; ", end="")
    console.print(f"`lookalike data check {source}` lists them all:", markup=False, soft_wrap=True)
    for kind, group in groupby(problems, key=lambda problem: problem.kind):
        first, *others = group
        more = f" (and {len(others):,} more)" if others else ""
        console.print(f"  {kind}: {first}{more}", markup=False, soft_wrap=True)


def estimated(console: Console, found: dict[str, Any]) -> None:
    """What `lookalike doctor` found."""
    machine = found["machine"]
    console.print(
        f"{machine['cores']} cores, {machine['memory_gb']:g} GB of memory, {machine['disk_free_gb']:g} GB of disk free here, "
        f"torch {machine['torch']} on {machine['device']}, npm {'is' if machine['npm'] else 'is not'} installed."
    )
    if (data := found.get("data")) is None:
        console.print("With --data SOURCE: what training on these pictures would cost here.")
        return
    table = Table(title=f"{data['images']:,} images, {data['training_images']:,} of them to train on", title_justify="left")
    table.add_column("step")
    table.add_column("here", justify="right")
    table.add_row("reading all pictures, once", watch.duration(data["reading_seconds"]))
    table.add_row("their pixels in memory", f"{data['pixels_gb']:g} GB")
    if "epoch_seconds" in data:
        table.add_row(f"an epoch, at {data['images_per_second']:g} images/s", watch.duration(data["epoch_seconds"]))
        table.add_row(f"[bold]training, {data['epochs']} epochs", f"[bold]{watch.duration(data['training_seconds'])}")
    console.print(table)
    if data["unreadable_in_sample"]:
        unreadable = watch.counted(data["unreadable_in_sample"], "picture")
        console.print(f"[yellow]{unreadable} of the sample cannot be read: `lookalike data check` says why.")


def report(console: Console, report: Report) -> None:
    """What an index job did; the files that could not be read, with their reasons."""
    console.print(
        f"[bold]{report.count:,} items[/bold] can be searched (generation {report.generation}): {report.added:,} came, "
        f"{report.removed:,} went, {report.unchanged:,} were unchanged, {report.encoded:,} images were encoded."
    )
    for worth in report.indexes:
        _worth(console, worth)
    notes = {
        "belong to the service now and were left alone": report.owned_by_api,
        "stay deleted, as the service was told": report.kept_deleted,
        "wait for a vector": report.pending,
    }
    _noted(console, notes)
    if report.verdict:
        _verdict(console, report.verdict)
    _unreadable(console, report.unreadable)


def _noted(console: Console, notes: Mapping[str, int]) -> None:
    """What there is any of."""
    for note, count in notes.items():
        if count:
            console.print(f"{count:,} {note}.")


def rehearsal(console: Console, found: Rehearsal) -> None:
    """What an index job would do."""
    console.print(
        f"Of {found.found:,} files [bold]{found.read:,} would be read[/bold]: {found.new:,} new ones and at most "
        f"{found.changed:,} that changed. {found.unchanged:,} are unchanged, {found.renewed:,} have other metadata; "
        f"{found.gone:,} items are gone. Nothing was written."
    )
    notes = {
        "items of the service and of other galleries would be encoded with the new bundle, at most": found.waiting,
        "belong to the service now and would be left alone": found.owned_by_api,
        "stay deleted, as the service was told": found.kept_deleted,
    }
    _noted(console, notes)
    if found.seconds is not None:
        pace = f"{found.images_per_second:,.0f} images/s, as the last job"
        console.print(f"It would take about {watch.duration(found.seconds)} ({pace}), and the making of an index beside.")
    told = f"It needs about {size(found.needs)} on the disk, {size(found.free)} are free."
    console.print(told if found.free >= found.needs else f"[yellow]{told} The job would refuse: make room first.")
    if found.shrink == "refused":
        console.print("[yellow]The job would refuse: so many are gone.[/] Is the disk mounted? If they may go, --allow-shrink.")
    elif found.shrink == "depends":
        console.print("[yellow]The job would refuse if those that are gone are not among the read ones, under other names.")
    if found.too_many_failures:
        console.print("[yellow]The job would refuse: more files than --max-failures cannot be read.")
    _unreadable(console, found.unreadable)


def _verdict(console: Console, verdict: Mapping[str, Any]) -> None:
    old, new = verdict["old"], verdict["new"]
    said = [f"recall {new['recall']:.4f} (before {old['recall']:.4f})"]
    if verdict["queries"]:
        said.append(f"the nearest has the same label for {new['right']:.1%} of {verdict['queries']:,} ({old['right']:.1%})")
    if verdict["pictures"]:
        said.append(f"{new['itself']:.1%} of {verdict['pictures']:,} pictures find themselves")
    console.print(f"The new bundle was judged: {', '.join(said)}.")
    for sentence in verdict["worse"]:
        console.print(sentence, style="yellow", markup=False)


def _unreadable(console: Console, unreadable: Mapping[str, str]) -> None:
    if unreadable:
        console.print(f"[yellow]{len(unreadable):,} files could not be used:")
        for id, reason in sorted(unreadable.items())[:20]:
            console.print(f"  {id}: {reason}", markup=False)
        if len(unreadable) > 20:
            console.print("  … all of them with --json")


def _worth(console: Console, worth: Mapping[str, Any]) -> None:
    """Nothing of exact search that is quick."""
    if worth["failed"]:
        console.print(
            f"[yellow]A recall of {worth['asked']:.4g} cannot be kept:[/] {worth['failed']} found "
            f"{min(worth['tried'][-1]['like'], worth['tried'][-1]['unlike']):.4f} at most, so search is exact, and slower. "
            "Ask for less with --recall."
        )
    elif worth["effort"]:
        console.print(
            f"Search by {worth['factory']}: recall {worth['recall']:.4f} of the ten nearest ({worth['asked']:.4g} asked for), "
            f"{worth['tried'][-1]['ms']:.2g} ms a query, {worth['bytes'] / 1e6:,.0f} MB, built in {worth['seconds']:.0f} s."
        )


def hits(console: Console, answer: dict[str, Any], file: Path) -> None:
    """The answer of a search."""
    table = Table(title=Text(f"{file.name}, among {answer['index']['count']:,} items"), title_justify="left")
    table.add_column("score", justify="right")
    confident = any(hit["confidence"] is not None for hit in answer["results"])
    if confident:
        table.add_column("same kind", justify="right")
    table.add_column("id", overflow="fold")
    table.add_column("", overflow="fold")
    for hit in answer["results"]:
        metadata = hit["metadata"]
        note = " · ".join(str(metadata[name]) for name in sorted(metadata, key=_by_use) if name in _SHOWN)
        chance = [f"{hit['confidence']:.0%}"] if confident else []
        table.add_row(f"{hit['score']:.3f}", *chance, Text(hit["id"]), Text(note))
    if answer["message"]:
        console.print(answer["message"], style="yellow", markup=False)
    console.print(table)


_SHOWN = ("name", "label", "style", "family")


def _by_use(name: str) -> int:
    return _SHOWN.index(name) if name in _SHOWN else len(_SHOWN)
