"""What people see: nothing cut off in a terminal of 80 columns, and names as they are, whatever they look like."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from index.catalog import API_ORIGIN, Item
from index.duplicates import Cluster, Copy, Duplicates, Picture
from index.job.rehearsal import Rehearsal
from index.job.report import Report
from index.search.approximate import Worth
from lookalike import cli, display
from model.metrics import NAMES
from training.datasets.problems import Problem

ODD = "[red]x[/] [/nothing] [bold \\[a] :bear: \\"


@pytest.fixture
def console() -> Console:
    return Console(width=80, record=True, highlight=False, emoji=False, file=io.StringIO())


def text(console: Console) -> str:
    """What was shown; no line is wider than the terminal, or has an ellipsis where something was cut."""
    shown = console.export_text(clear=False)
    assert all(len(line) <= 80 for line in shown.splitlines()), shown
    return shown


def cells(shown: str) -> list[list[str]]:
    """The rows of tables."""
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in shown.splitlines() if re.match("[│┃]", line)]


def squeezed(shown: str) -> str:
    """Without what folds a cell over lines."""
    return re.sub(r"[\s│┃]", "", shown)


def measured(value: float, **more) -> dict:
    figures = {name: value for name in NAMES}
    intervals = {name: (value - 0.0123, value + 0.0123) for name in NAMES}
    return figures | {"intervals": intervals, "queries": 123_456, "classes": 78_901, "distractors": 0} | more


def gains(value: float) -> dict:
    return {name: {"mean": value, "interval": (value - 0.01, value + 0.01)} for name in NAMES}


# Figures


def test_figures_of_vectors(console: Console) -> None:
    display.figures(console, measured(0.56789))
    shown = text(console)
    assert "123,456 queries of 78,901 classes" in shown
    rows = {row[0]: row[1] for row in cells(shown)}
    assert list(rows) == ["", "R@1", "R@2", "R@4", "R@8", "R-prec.", "MAP@R", "MRR"]
    assert set(list(rows.values())[1:]) == {"0.5679 0.556 to 0.580"}
    assert "only in the way" not in shown and "backbone" not in shown


def test_clustering_is_shown_where_it_was_done(console: Console) -> None:
    display.figures(console, measured(0.5, nmi=0.87654))
    assert ["NMI", "0.8765"] in cells(text(console))


@pytest.mark.parametrize("gained", [0.2, -0.2])
def test_figures_beside_the_backbone(gained: float, console: Console) -> None:
    display.figures(console, measured(0.76, backbone=measured(0.42), gains=gains(gained)))
    rows = cells(text(console))
    assert rows[0] == ["", "backbone", "trained", "gained"]
    assert rows[1] == [
        "R@1",
        "0.4200",
        "0.7600 0.748 to 0.772",
        f"{gained:+.4f} {gained - 0.01:+.3f} to {gained + 0.01:+.3f}",
    ]


def test_clustering_beside_the_backbone(console: Console) -> None:
    display.figures(console, measured(0.76, nmi=0.9, backbone=measured(0.42, nmi=0.8), gains=gains(0.3)))
    assert cells(text(console))[-1] == ["NMI", "0.8000", "0.9000", ""]


def test_figures_without_the_hits_of_a_mask(console: Console) -> None:
    display.figures(console, measured(0.76, masked=measured(0.68, by="family")))
    shown = text(console)
    assert "thesame,hitsofthequery'sownfamilyleftout" in squeezed(shown)
    assert [row[1] for row in cells(shown) if row[0] == "R@1"] == ["0.7600 0.748 to 0.772", "0.6800 0.668 to 0.692"]


def test_figures_with_a_mask_beside_the_backbone(console: Console) -> None:
    masked = measured(0.68, by="family", gains=gains(0.3))
    backbone = measured(0.42, masked=measured(0.33, by="family"))
    display.figures(console, measured(0.76, masked=masked, backbone=backbone, gains=gains(0.34)))
    first = [row for row in cells(text(console)) if row[0] == "R@1"]
    assert [row[1] for row in first] == ["0.4200", "0.3300"]
    assert [row[3].split()[0] for row in first] == ["+0.3400", "+0.3000"]


def test_distractors_and_calibration(console: Console) -> None:
    trust = {"ece": 0.0295, "brier": 0.14674, "brier_of_constant": 0.17067, "hits": 100}
    display.figures(console, measured(0.5, distractors=1234, calibration=trust))
    shown = " ".join(text(console).split())
    assert "1,234 more images have no second one of their class" in shown
    assert "calibration error 0.029, Brier score 0.147 (a constant has 0.171)" in shown


def test_the_worst_classes_come_first(console: Console) -> None:
    classes = {f"class {row}": {"queries": 1000 + row, "recall@1": 0.5, "map@r": row / 100} for row in range(40)}
    classes = {name: classes[name] for name in np.random.default_rng(0).permutation(sorted(classes))}
    display.figures(console, measured(0.5, by_class=classes))
    shown = text(console)
    assert "The worst of 40 classes" in shown
    rows = cells(shown)[-15:]
    assert [row[0] for row in rows] == [f"class {row}" for row in range(15)]
    assert rows[3] == ["class 3", "1,003", "0.5000", "0.0300"]


def test_names_in_figures_are_shown_as_they_are(console: Console) -> None:
    classes = {ODD: {"queries": 2, "recall@1": 0.5, "map@r": 0.5}}
    display.figures(console, measured(0.5, masked=measured(0.4, by=ODD), by_class=classes))
    assert squeezed(text(console)).count(squeezed(ODD)) == 2


def test_long_labels_do_not_push_numbers_out(console: Console) -> None:
    label = "a-label-without-an-end/" * 10
    display.figures(console, measured(0.5, by_class={label: {"queries": 123_456, "recall@1": 0.5, "map@r": 0.25}}))
    shown = text(console)
    assert ["123,456", "0.5000", "0.2500"] in [row[1:] for row in cells(shown)]
    assert label in "".join(row[0] for row in cells(shown))


def test_paths_of_plots_are_shown_as_they_are_and_in_one_piece(console: Console) -> None:
    path = "/plots/" + "of [red] things/" * 8 + "recall.png"
    display.figures(console, measured(0.5, plots=[path]))
    assert path in console.export_text().splitlines()


@pytest.mark.parametrize(("backbone", "said"), [(0.42, False), (0.76, False), (0.77, True)])
def test_a_training_that_did_not_help_is_told(backbone: float, said: bool, console: Console) -> None:
    display.figures(console, measured(0.76, backbone=measured(backbone), gains=gains(0.76 - backbone)))
    assert ("Training did not help: on the test classes the backbone as it is" in " ".join(text(console).split())) == said


def test_which_run_the_figures_are_of(console: Console) -> None:
    display.figures(console, measured(0.5, run={"trained_on": ["train"], "fingerprint": "0" * 16, "epoch": 3}))
    assert "run on the training classes; the bundle's network was then trained on all" in " ".join(text(console).split())


def test_figures_of_classes_that_the_start_had_seen_are_called_too_good(console: Console) -> None:
    display.figures(console, measured(0.9, saw_tests=True))
    assert "These figures may be too good" in " ".join(text(console).split())


# A comparison of losses, and an audit of labels


def loss(title: str, first: float, less: tuple[float, float, float] | None = None, visited: float | None = None) -> dict:
    figures = {f"recall@{k}": {"mean": first + k / 100, "deviation": 0.0123} for k in (1, 2, 4, 8)}
    figures |= {name: {"mean": first / 2, "deviation": 0.004} for name in ("map@r", "r_precision")}
    cost = {"seconds": 1234.56, "images_per_second": 20_293.7, "peak_gb": None, "visited": visited}
    found = {"title": title, "figures": figures, "masked": figures, "cost": cost}
    if less is None:
        return found
    difference = {"recall@1": {"mean": less[0], "interval": less[1:]}}
    return found | {"difference": difference, "masked_difference": difference}


def test_a_comparison_fits_into_80_columns(console: Console) -> None:
    losses = {
        "softtriple": loss("SoftTriple", 0.8),
        "softmax": loss("normalised softmax", 0.78, (0.02, 0.01, 0.03)),
        "contrastive": loss("contrastive", 0.79, (0.011, -0.001, 0.023), visited=8_064_000.0),
    }
    stage = {"seeds": 10, "queries": 7_506, "classes": 800, "losses": losses}
    display.compared(console, {"stages": {"heads": stage}, "plots": ["/plots/heads.png"]})
    shown = text(console)
    assert "…" not in shown and "heads: 10 seeds, 7,506 queries of 800 test classes" in shown
    for row in (
        r"normalised softmax +0\.790 ± 0\.012 +0\.390 ± 0\.004 +\+0\.020 \+0\.010 to \+0\.030",
        r"contrastive +0\.800 ± 0\.012 +0\.395 ± 0\.004 +\+0\.011 -0\.001 to \+0\.023",
        r"contrastive +0\.810 +0\.830 +0\.870 +0\.395 +1,234\.6 +20,294 +8\.1 M",
        r"SoftTriple +0\.820 +0\.840 +0\.880 +0\.400 +1,234\.6 +20,294 +none",
    ):
        assert re.search(row, shown), (row, shown)
    assert shown.count("+0.030") == 2, "once masked"


def test_suspects_keep_their_names_and_fit(console: Console) -> None:
    suspect = {"number": 14_907, "path": f"{ODD}/" + "long/" * 30, "label": ODD, "looks_like": "b" * 90, "probability": 0.987}
    found = {"judged": 12_345, "suspects": [suspect] * 3, "likely": 2, "expected": 2.2, "not_judged": [{}]}
    display.audited(console, found, Path("suspects.html"))
    shown = text(console)
    assert squeezed(shown).count("long/" * 3) and "99%" in shown and "14907" in shown
    assert shown.count("[red]x[/]") and "12,345 labels judged" in shown
    assert "1 picture could not be judged" in shown and "Pictures of them: suspects.html" in shown


# Copies


def picture(id: str, size: int = 1500) -> Picture:
    return Picture(Item(1, id, API_ORIGIN, "", {}, size, 0), (12_345, 6789))


def cluster(id: str, copies: int = 1, why: str = "same picture") -> Cluster:
    return Cluster(picture(id), [Copy(picture(f"{id} {number}"), why, 0.1) for number in range(copies)])


def test_copies_are_below_what_is_to_be_kept(console: Console) -> None:
    found = Duplicates(62, [cluster("a.png", 2), cluster("b.png", 1, "same file")])
    display.duplicates(console, found, Path("copies of [red].html"))
    shown = text(console)
    rows = [re.split(r"  +", line.strip()) for line in shown.splitlines() if ".png" in line]
    assert rows == [
        ["a.png", "keep", "12,345 × 6,789", "1.5 kB"],
        ["a.png 0", "same picture", "12,345 × 6,789", "1.5 kB"],
        ["a.png 1", "same picture", "12,345 × 6,789", "1.5 kB"],
        ["b.png", "keep", "12,345 × 6,789", "1.5 kB"],
        ["b.png 0", "same file", "12,345 × 6,789", "1.5 kB"],
    ]
    assert "3 copies of 2 pictures among 62 items: 4.5 kB could be free. Nothing was removed." in " ".join(shown.split())
    assert "Pictures of them: copies of [red].html" in shown and "more" not in shown


def test_twenty_clusters_and_five_copies_of_each_are_shown(console: Console) -> None:
    display.duplicates(console, Duplicates(99, [cluster(f"{number}.png", 17) for number in range(21)]), None)
    shown = text(console)
    assert shown.count("keep") == 20 and "20.png" not in shown
    assert shown.count("same picture") == 100 and "0.png 5" not in shown
    assert shown.count("  … and 12 more of it ") == 20
    assert "… and 1 more picture with copies; all of them with --json" in shown
    assert "357 copies of 21 pictures" in shown and "With --page duplicates.html" in shown


def test_names_of_copies_are_shown_as_they_are_and_whole(console: Console) -> None:
    id = f"{ODD}/" + "long/" * 30 + "end"
    display.duplicates(console, Duplicates(2, [cluster(id)], unreadable={ODD: "The file changed."}), None)
    shown = text(console)
    assert shown.count("12,345 × 6,789") == 2 and "".join(shown.split()).count("long/") == 60
    assert f"  {ODD}: The file changed." in shown


def test_no_copies(console: Console) -> None:
    display.duplicates(console, Duplicates(1, [], pending=1), None)
    assert text(console).splitlines() == [
        "No copies among 1 item.",
        "1 item without a vector: only copies of the same file are found until `lookalike",
        "index` runs.",
    ]


def test_what_could_not_be_looked_at_is_listed(console: Console) -> None:
    reasons = {f"{number:02}.png": "The file is not there any more." for number in range(23)}
    display.duplicates(console, Duplicates(23, [], unreadable=reasons), None)
    shown = text(console)
    assert "23 items could not be looked at:\n  00.png: The file is not there any more.\n" in shown
    assert "19.png" in shown and "20.png" not in shown and "  … and 3 more; all of them with --json" in shown


# A training


def trained(epochs: int, of: int = 10, phase: str = "train", best: int = -1) -> list[dict]:
    return [
        {"phase": phase, "epoch": epoch, "epochs": of, "step": 93 * epoch, "steps": 93 * of, "seconds": 30.0 * epoch}
        | {"loss": 6.0 - epoch if epoch else None, "images_per_second": 188.4, "best": epoch == best}
        | {"validation": {"map@r": 0.1 + epoch**2 / 100, "recall@1": 0.4 + epoch / 100} if phase == "train" else None}
        for epoch in range(epochs + 1)
    ]


@pytest.fixture
def terminal() -> Console:
    return Console(width=80, record=True, highlight=False, emoji=False, file=io.StringIO(), force_terminal=True)


def test_a_plan(console: Console) -> None:
    display.plan(console, {"name": ODD, "classes": 629, "images": 5930, "minutes": None})
    assert text(console).splitlines() == [ODD, "trained on  629 classes · 5,930 images"]


def test_epochs_in_a_log_are_plain_lines(console: Console) -> None:
    history = trained(3, best=2)
    for ended in range(1, 5):
        display.epoch(console, history[:ended])
    display.epoch(console, history + trained(1, phase="final"))
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "head alone · MAP@R 0.100 · 188 images/s",
        "epoch 1/10 · loss 5.000 · MAP@R 0.110 · 188 images/s · 4 min left",
        "epoch 2/10 · loss 4.000 · MAP@R 0.140 (best 0.140) · 188 images/s · 4 min left",
        "epoch 3/10 · loss 3.000 · MAP@R 0.190 (best 0.140) · 188 images/s · 4 min left",
        "all classes, epoch 1/10 · loss 5.000 · 188 images/s · 4 min left",
    ]


def test_epochs_in_a_terminal_have_curves_below_each_other(terminal: Console) -> None:
    history = trained(3, best=3)
    for ended in range(1, 5):
        display.epoch(terminal, history[:ended])
    display.epoch(terminal, history + trained(1, phase="final"))
    assert text(terminal).splitlines() == [
        "head alone                          MAP@R 0.100 ▄           R@1 0.400",
        "epoch 1/10   loss 5.000  ▄          MAP@R 0.110 ▁█          R@1 0.410",
        "epoch 2/10   loss 4.000  █▁         MAP@R 0.140 ▁▃█         R@1 0.420",
        "epoch 3/10   loss 3.000  █▅▁        MAP@R 0.190 ▁▂▄█        R@1 0.430 ★",
        "all classes, epoch 1/10  loss 5.000  ▄",
    ]


def test_the_longest_line_of_an_epoch_fits(terminal: Console) -> None:
    display.epoch(terminal, trained(999, of=999, best=999))
    assert text(terminal).count("\n") == 1


def test_a_loss_that_is_no_number(terminal: Console, console: Console) -> None:
    history = trained(2)
    history[-1] |= {"loss": float("nan"), "validation": None}
    display.epoch(terminal, history)
    display.epoch(console, history)
    assert text(terminal).startswith("epoch 2/10   loss     –  ▄          MAP@R     – ▁█")
    assert text(console) == "epoch 2/10 · MAP@R 0.110 · 188 images/s · 4 min left\n"


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], ""),
        ([0.5], "▄"),
        ([0.5, 0.5, 0.5], "▄▄▄"),
        ([None, None], "  "),
        ([0.0, None, 1.0], "▁ █"),
        ([*range(8)], "▁▂▃▄▅▆▇█"),
        ([*range(1000)], "▁▂▃▃▄▅▆▆▇█"),
        ([1e9, 1e9 + 1], "▁█"),
    ],
)
def test_sparklines(values: list, shown: str) -> None:
    assert display.sparkline(values) == shown


def test_a_note_is_below_the_bars_and_is_shown_as_it_is(terminal: Console) -> None:
    with display.progress(terminal) as progress:
        done, task = progress.add_task("Reading pictures", total=1, note="read"), progress.add_task("Training", total=9)
        progress.advance(done)
        progress.update(task, note=f"epoch 1/10 · {ODD}")
        terminal.print(*progress.get_renderables())
    shown = [line.strip() for line in text(terminal).splitlines()]
    assert f"epoch 1/10 · {ODD}" in shown and "read" not in shown


# Problems


def found(source: str, errors: int = 0, warnings: int = 0) -> dict:
    splits = {"train": {"classes": 1234, "images": 123_456}, "test": {"classes": 5, "images": 67}}
    return {"source": source, "splits": splits, "errors": errors, "warnings": warnings}


def test_what_is_in_the_data(console: Console) -> None:
    display.checked(console, found("shop/labels.csv"), [])
    shown = text(console)
    assert "shop/labels.csv" in shown
    assert ["train", "1,234", "123,456"] in cells(shown) and ["test", "5", "67"] in cells(shown)
    assert shown.endswith("0 errors, 0 warnings.\n")


def test_problems_are_listed_by_kind(console: Console) -> None:
    problems = [Problem("missing-file", (row,), f"{row}.png: the file does not exist") for row in range(2, 27)]
    problems += [Problem("single-image", (30,), "'a' has one image")]
    display.checked(console, found("shop", 25, 1), problems)
    shown = text(console)
    assert "error: missing-file, 25 of them\n  row 2: 2.png: the file does not exist\n" in shown
    assert "  row 21: 21.png" in shown and "row 22:" not in shown
    assert "  … and 5 more; all of them with --json\nwarning: single-image, 1 of them\n  row 30: 'a' has one image\n" in shown
    assert shown.endswith("25 errors, 1 warning.\n")


def test_names_in_problems_are_shown_as_they_are(console: Console) -> None:
    display.checked(console, found(ODD, 1), [Problem("missing-file", (2,), f"{ODD}: the file does not exist")])
    display.warnings(console, [Problem("single-image", (3,), f"{ODD} has one image")], Path(ODD))
    shown = console.export_text()
    assert f"  row 2: {ODD}: the file does not exist" in shown
    assert f"  single-image: row 3: {ODD} has one image" in shown
    assert squeezed(shown).count(squeezed(ODD)) == 4


def test_warnings_have_one_line_a_kind(console: Console) -> None:
    display.warnings(console, [], Path("shop"))
    assert text(console) == ""
    display.warnings(console, [Problem("single-image", (row,), "alone") for row in range(2, 1234)], Path("shop"))
    assert text(console).splitlines() == [
        "1,232 warnings; `lookalike data check shop` lists them all:",
        "  single-image: row 2: alone (and 1,231 more)",
    ]


# Hits


def answer(*ids: str, confidence: float | None = None, metadata: dict | None = None, message: str | None = None) -> dict:
    hits = [{"id": id, "score": 0.98765, "confidence": confidence, "metadata": metadata or {}} for id in ids]
    return {"results": hits, "similar": None, "message": message, "index": {"count": 12_345, "generation": 1}}


def test_hits_without_a_calibration(console: Console) -> None:
    display.hits(console, answer("a/1.png", "b/2.png"), Path("shop/query.png"))
    shown = text(console)
    assert "query.png, among 12,345 items" in " ".join(shown.split())
    assert "same kind" not in shown
    assert [row for row in cells(shown) if row[0] == "0.988"] == [["0.988", "a/1.png", ""], ["0.988", "b/2.png", ""]]


@pytest.mark.parametrize(("confidence", "shown"), [(0.0, "0%"), (0.876, "88%"), (1.0, "100%")])
def test_hits_with_a_calibration(confidence: float, shown: str, console: Console) -> None:
    display.hits(console, answer("a/1.png", confidence=confidence), Path("query.png"))
    assert cells(text(console))[:2] == [["score", "same kind", "id", ""], ["0.988", shown, "a/1.png", ""]]


def test_nothing_similar_is_said(console: Console) -> None:
    display.hits(console, answer("a", confidence=0.01, message="Nothing similar [here]."), Path("query.png"))
    assert "Nothing similar [here]." in text(console)
    display.hits(console, answer(), Path("query.png"))
    assert "among 12,345 items" in " ".join(text(console).split())


def test_known_metadata_comes_in_its_order(console: Console) -> None:
    metadata = {"family": "openmoji", "label": "1f43b", "price": 7, "name": "bear"}
    display.hits(console, answer("a", metadata=metadata), Path("query.png"))
    assert cells(text(console))[1] == ["0.988", "a", "bear · 1f43b · openmoji"]


def test_long_ids_do_not_push_numbers_out(console: Console) -> None:
    id, name = "folder/" * 30 + "1.png", "a name without an end " * 20
    display.hits(console, answer(id, confidence=0.5, metadata={"name": name}), Path("query" * 40 + ".png"))
    rows = cells(text(console))
    assert rows[1][:2] == ["0.988", "50%"]
    assert "".join(row[2] for row in rows[1:]) == id
    assert squeezed("".join(row[3] for row in rows[1:])) == squeezed(name)


def test_names_in_hits_are_shown_as_they_are(console: Console) -> None:
    display.hits(console, answer(ODD, metadata={"name": ODD}), Path(ODD))
    rows = cells(text(console))
    assert squeezed("".join(row[1] for row in rows)).removeprefix("id") == squeezed(ODD)
    assert squeezed("".join(row[2] for row in rows)) == squeezed(ODD)
    assert squeezed(f"{Path(ODD).name}, among") in squeezed(text(console))


def test_no_name_becomes_an_emoji() -> None:
    assert cli.console.render_str(":bear:").plain == ":bear:"


# The rest


def machine() -> dict:
    return {"cores": 2, "memory_gb": 8.3, "disk_free_gb": 100.0, "torch": "2.9.1+cpu", "device": "cpu", "npm": False}


def test_a_machine(console: Console) -> None:
    display.estimated(console, {"machine": machine()})
    shown = " ".join(text(console).split())
    assert "2 cores, 8.3 GB of memory, 100 GB of disk free here, torch 2.9.1+cpu on cpu, npm is not installed." in shown
    assert "With --data SOURCE" in shown


def estimate(**more) -> dict:
    known = {"images": 12_345, "training_images": 8_000, "training_classes": 629, "unreadable_in_sample": 0}
    return known | {"reading_seconds": 7.25, "pixels_gb": 0.56, "epochs": 10} | more


def test_an_estimate(console: Console) -> None:
    data = estimate(images_per_second=123.4, epoch_seconds=64.8, training_seconds=648.0)
    display.estimated(console, {"machine": machine(), "data": data})
    assert cells(text(console))[1:] == [
        ["reading all pictures, once", "7.2 s"],
        ["their pixels in memory", "0.56 GB"],
        ["an epoch, at 123.4 images/s", "65 s"],
        ["training, 10 epochs", "11 min"],
    ]
    assert "cannot be read" not in text(console)


def test_an_estimate_of_what_cannot_be_read(console: Console) -> None:
    display.estimated(console, {"machine": machine(), "data": estimate(unreadable_in_sample=1)})
    shown = " ".join(text(console).split())
    assert "1 picture of the sample cannot be read" in shown and "epoch" not in shown


TRIED = {"effort": 32, "like": 0.99, "unlike": 0.96, "ms": 0.081}


@pytest.mark.parametrize(
    ("worth", "said"),
    [
        ({}, ""),
        (
            {"factory": "HNSW24_SQ8", "effort": 32, "recall": 0.96, "tried": [TRIED], "seconds": 26, "bytes": 61 * 10**6},
            "HNSW24_SQ8: recall 0.9600 of the ten nearest (0.95 asked for), 0.081 ms a query, 61 MB, built in 26 s.",
        ),
        ({"failed": "HNSW32_SQ8", "tried": [TRIED]}, "A recall of 0.95 cannot be kept: HNSW32_SQ8 found 0.9600 at most"),
    ],
    ids=["flat", "kept", "not kept"],
)
def test_what_an_index_is_worth(console: Console, worth: dict, said: str) -> None:
    display.report(console, Report(generation=1, indexes=[Worth(asked=0.95, **worth).model_dump()]))
    shown = " ".join(text(console).split())
    assert said in shown if said else "recall" not in shown.lower()


def test_a_report_tells_what_a_new_bundle_was_found_to_be_worth(console: Console) -> None:
    old, new = (
        {"recall": recall, "right": right, "itself": itself} for recall, right, itself in ((1, 0.91, None), (1, 0.8, 1))
    )
    worse = ["The nearest item has the same label for 80.0% of 2,000 items; it was 91.0%."]
    verdict = {"old": old, "new": new, "queries": 2000, "pictures": 64, "worse": worse}
    display.report(console, Report(generation=2, verdict=verdict))
    shown = " ".join(text(console).split())
    assert "the nearest has the same label for 80.0% of 2,000 (91.0%), 100.0% of 64 pictures find themselves" in shown
    assert worse[0] in shown


def test_a_report_of_a_bundle_without_labels_or_pictures(console: Console) -> None:
    trial = {"recall": 0.987, "right": None, "itself": None}
    verdict = {"old": trial, "new": trial, "queries": 0, "pictures": 0, "worse": []}
    display.report(console, Report(generation=2, verdict=verdict))
    assert "judged: recall 0.9870 (before 0.9870)." in " ".join(text(console).split())


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (Rehearsal(free=10**9), "Nothing was written."),
        (Rehearsal(free=10**9, needs=5 * 10**8), "It needs about 500 MB on the disk, 1 GB are free."),
        (Rehearsal(free=10, needs=10**8), "The job would refuse: make room first."),
        (Rehearsal(free=10, shrink="refused"), "If they may go, --allow-shrink."),
        (Rehearsal(free=10, shrink="depends"), "not among the read ones, under other names."),
        (Rehearsal(free=10, too_many_failures=True), "more files than --max-failures cannot be read."),
        (Rehearsal(free=10, seconds=7200, images_per_second=105.3), "about 2.0 h (105 images/s, as the last job)"),
        (Rehearsal(free=10, waiting=1234), "1,234 items of the service and of other galleries"),
        (Rehearsal(free=10, unreadable={ODD: "why"}), f"{ODD}: why"),
    ],
)
def test_a_rehearsal(console: Console, found: Rehearsal, sentence: str) -> None:
    display.rehearsal(console, found)
    assert sentence in " ".join(text(console).split())


def test_progress_has_a_rate_and_steps_that_nobody_can_count() -> None:
    console = Console(width=80, record=True, file=io.StringIO(), force_terminal=True)
    with display.progress(console, "images/s") as progress:
        task = progress.add_task("Indexing", total=300)
        for _ in range(3):
            progress.advance(task, 100)
        display.begin(progress, "Building")
        display.begin(progress, "Judging")
    shown = console.export_text()
    last = shown[shown.rindex("Indexing") :].splitlines()
    assert [line.split()[0] for line in last] == ["Indexing", "Building", "Judging"]
    assert "300/300" in last[0] and "images/s" in last[0] and all(len(line) <= 80 for line in last)
    assert "?" not in "".join(last) and "1/1" not in "".join(last)


def test_a_report(console: Console) -> None:
    unreadable = {f"{ODD} {row:02d}.png": "no picture" for row in range(25)}
    report = Report(added=3, removed=1, unchanged=1000, encoded=2, generation=7, count=1002, pending=4, unreadable=unreadable)
    display.report(console, report)
    shown = text(console)
    joined = " ".join(shown.split())
    assert "1,002 items can be searched (generation 7): 3 came, 1 went, 1,000 were unchanged, 2 images" in joined
    assert "4 wait for a vector." in shown and "stay deleted" not in shown
    assert "25 files could not be used:" in shown and f"  {ODD} 19.png: no picture" in shown
    assert f"{ODD} 20.png" not in shown and "all of them with --json" in shown
