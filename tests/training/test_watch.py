"""The page of a training: whole in itself, well-formed, and honest about whatever the records lack."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from training import watch

VOID = {"meta", "link", "img"}
NAME = "<b>Tom & \"Jerry\"</b> 'x' `y` {z} %s"
PLAN = {
    "name": "emoji",
    "classes": 629,
    "images": 5930,
    "validation_classes": 156,
    "validation_images": 1471,
    "test_classes": 1,
    "test_images": 7506,
    "parameters": 3_530_000,
    "center_parameters": 161_024,
    "backbone": "efficientnet_lite0",
    "dim": 128,
    "epochs": 10,
    "steps": 930,
    "batch": 64,
    "processes": 2,
    "device": "cpu",
    "memory_gb": 1.9,
    "memory_available_gb": 20.1,
    "pixels": "in memory",
    "pixels_gb": 0.56,
    "images_per_second": 188.0,
    "minutes": 6.2,
}


class Page(HTMLParser):
    """Tags must close in the order in which they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


def run(epochs: int, of: int = 10, phase: str = "train", **more) -> list[dict]:
    return [
        {"phase": phase, "epoch": epoch, "epochs": of, "step": 93 * epoch, "steps": 93 * of, "seconds": 30.0 * epoch}
        | {"loss": 6 / epoch, "learning_rate": 1e-3, "size": 96, "images_per_second": 188.1, "best": phase == "train"}
        | {"validation": {"map@r": 0.5 - 0.4 / epoch, "recall@1": 0.8 - 0.4 / epoch} if phase == "train" else None}
        | more
        for epoch in range(1, epochs + 1)
    ]


HEAD = run(1)[0] | {"epoch": 0, "step": 0, "loss": None}
NOTHING = dict.fromkeys(run(1)[0], None)
HISTORIES = {
    "none": [],
    "one": run(1),
    "head": [HEAD],
    "some": [HEAD, *run(7)],
    "many": run(500, of=500),
    "final": run(10) + run(3, phase="final"),
    "same": run(4, loss=2.0, validation={"map@r": 0.0, "recall@1": 0.0}),
    "diverged": run(3, loss=math.nan, validation={"map@r": math.nan, "recall@1": math.inf}),
    "unmeasured": run(3, validation=None, best=False),
    "empty": [NOTHING, {}],
}


@pytest.mark.parametrize("status", ["running", "finished", "stopped at step 9; resume with `lookalike train <x>`", "?", ""])
@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_every_page_is_well_formed_and_asks_nobody(history: list[dict], status: str) -> None:
    for plan in ({}, dict.fromkeys(PLAN), PLAN):
        html = watch.page(plan, history, status)
        page = Page(html)
        assert "nan" not in re.sub("[^a-z]", " ", html).split() and "inf" not in page.text
        assert not re.search(r"https?:|//|url\(|@import", re.sub('data:image/svg[^"]*', "", html))
        assert "script" not in dict(page.tags)


def test_names_are_escaped() -> None:
    plan = PLAN | {"name": NAME, "backbone": NAME, "device": NAME, "pixels": NAME}
    page = Page(watch.page(plan, [], f"stopped {NAME.replace('`', '')}"))
    assert "b" not in dict(page.tags)
    assert page.text.count(NAME) == 5  # title, heading, and three of the plan


def test_only_a_running_training_loads_itself_again() -> None:
    def again(status: str) -> bool:
        return ("meta", {"http-equiv": "refresh", "content": "5"}) in Page(watch.page(PLAN, run(3), status)).tags

    assert again("running")
    assert not any(map(again, ["finished", "diverged at step 7", "stopped", "not running", ""]))


def test_a_status_is_a_word_or_a_sentence() -> None:
    assert "<p>Stopped at step 9; resume with <code>lookalike train</code>.</p>" in watch.page(
        PLAN, run(3), "stopped at step 9; resume with `lookalike train`."
    )
    page = watch.page(PLAN, run(3), "finished")
    assert '<span class="state">finished</span>\n\n' in page


def test_how_far_it_is() -> None:
    html = watch.page(PLAN, run(3), "running")
    assert "width:30.00%" in html and "30% · emoji" in html
    assert "step 279 of 930" in html and "about 4 min left" in html
    now = run(4)[-1] | {"step": 300, "seconds": 97.0, "loss": 1.25}
    html = watch.page(PLAN, run(3), "running", now)
    assert "epoch 4/10 · step 300 of 930" in html and "<dd>1.250</dd>" in html
    assert "about 6 min in all" in watch.page(PLAN, [], "running")
    assert "width:100.00%" in watch.page(PLAN, run(3), "finished")


def test_the_best_epoch_has_a_star() -> None:
    history = run(5)
    history[3]["best"] = history[4]["best"] = False
    assert watch.best(history) is history[2]
    html = watch.page(PLAN, history, "running")
    assert "best, epoch 3" in html
    assert html.count('class="star" transform') == 1
    assert "<tr class=top><td>3<svg" in html


def test_curves_are_interrupted_where_there_is_no_value() -> None:
    history = run(5)
    history[2]["loss"] = None
    lines = re.findall(r'<path class="line loss" d="([^"]*)"', watch.page(PLAN, history, "running"))
    assert [re.sub("[^ML]", "", line) for line in lines] == ["MLML"]


def test_many_epochs_have_few_labels_and_no_dots() -> None:
    page = Page(watch.page(PLAN, run(500, of=500), "running"))
    assert page.count("text") < 25
    assert {attributes["d"] for tag, attributes in page.tags if "dots" in str(attributes.get("class"))} == {""}


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.5, 1]),
        (0.13, 0.61, [0, 0.2, 0.4, 0.6, 0.8]),
        (1.2, 5.9, [0, 2, 4, 6]),
        (0, 0, [-1, -0.5, 0, 0.5, 1]),
        (3, 3, [2.6, 2.8, 3.0, 3.2, 3.4]),
    ],
)
def test_ticks_are_round_and_go_round_the_values(low: float, high: float, ticks: list[float]) -> None:
    assert watch._ticks(low, high, 4) == pytest.approx(ticks)


def test_the_time_left_is_that_of_the_last_epochs() -> None:
    assert watch.seconds_left([]) is None
    assert watch.seconds_left([HEAD]) is None
    assert watch.seconds_left(run(5)) == pytest.approx(150)
    # an hour passed before the head was trained, or between two sessions
    assert watch.seconds_left([HEAD | {"seconds": 3600.0}, run(1)[0] | {"seconds": 3630.0}]) == pytest.approx(270)
    assert watch.seconds_left(run(10)) == 0
    assert watch.seconds_left(run(10) + run(5, phase="final")) == pytest.approx(150)


def test_a_plan_in_words() -> None:
    assert watch.described({}) == {}
    assert watch.described(PLAN) == {
        "trained on": "629 classes · 5,930 images",
        "validation": "156 classes · 1,471 images",
        "test": "1 class · 7,506 images",
        "network": "efficientnet_lite0 · 128 dimensions · 3.53 million parameters",
        "centres": "161,024 parameters",
        "schedule": "10 epochs · 930 steps of 2 × 64 images",
        "machine": "cpu · 2 processes · 1.9 GB of memory · 20.1 GB free",
        "pixels": "in memory · 0.56 GB",
        "takes": "about 6 min · 188 images/s",
    }


def test_a_note() -> None:
    assert watch.note([]) == ""
    now = {"phase": "train", "epoch": 4, "epochs": 10, "loss": 2.9, "images_per_second": 188.4}
    assert watch.note([], now) == "epoch 4/10 · loss 2.900 · 188 images/s"
    assert watch.note(run(3), now) == "epoch 4/10 · loss 2.900 · MAP@R 0.367 (best 0.367) · 188 images/s"
    assert watch.note(run(3), now | {"phase": "final"}) == "all classes, epoch 4/10 · loss 2.900 · 188 images/s"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (99.9, "100 s"), (100, "2 min"), (5990, "100 min"), (7200, "2.0 h")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert watch.duration(seconds) == shown


def test_a_page_is_replaced_in_one_piece(tmp_path: Path) -> None:
    watch.write(tmp_path, PLAN, [], "running")
    watch.write(tmp_path, PLAN | {"name": "bär \udcff"}, run(3), "finished")
    assert [path.name for path in tmp_path.iterdir()] == [watch.FILE]
    assert "bär &#56575;" in (tmp_path / watch.FILE).read_text(encoding="utf-8")
