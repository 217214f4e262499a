"""Figures become pictures: PNG files of one size, with something in each, whatever was measured."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from training import plots
from training.calibrate import Reliability
from training.datasets.labels import Dataset
from training.evaluate import Measurement, measure, measure_search
from training.plots import COLOURS, draw


def measured(noise: float, classes: int = 30, images: int = 5) -> Measurement:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), images)
    vectors = random.normal(size=(classes, 8))[labels] + noise * random.normal(size=(len(labels), 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return measure(vectors, {"label": labels.astype(str).tolist()})


def trust() -> Reliability:
    random = np.random.default_rng(0)
    confidence = random.uniform(size=1000)
    return Reliability(confidence, random.uniform(size=1000) < confidence)


def pixels_of(path: Path, colour: str) -> int:
    """How many pixels have exactly this colour."""
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return int((np.asarray(Image.open(path).convert("RGB")) == wanted).all(axis=2).sum())


def drawn(drawing, *args) -> Figure:
    figure = Figure()
    drawing(figure.add_subplot(), *args)
    return figure


def test_each_is_a_picture_with_every_line_in_it(tmp_path: Path) -> None:
    paths = draw(tmp_path / "new" / "plots", {"trained": measured(0.4), "backbone": measured(1.2)}, trust())
    assert [path.name for path in paths] == ["recall.png", "classes.png", "scores.png", "calibration.png"]
    assert sorted(path.name for path in (tmp_path / "new" / "plots").iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        picture = Image.open(path)
        assert picture.format == "PNG" and picture.size == (960, 660)
        assert path.stat().st_size < 200_000
        assert pixels_of(path, "#ffffff") > 300_000
        assert pixels_of(path, COLOURS[0]) > 500
        assert (pixels_of(path, COLOURS[1]) > 500) == (path.stem != "calibration")


def test_without_reliability_there_are_three(tmp_path: Path) -> None:
    draw(tmp_path, {"vectors": measured(0.4)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.png", "recall.png", "scores.png"]
    assert pixels_of(tmp_path / "recall.png", COLOURS[1]) == 0


def test_drawing_again_replaces_them(tmp_path: Path) -> None:
    draw(tmp_path, {"vectors": measured(0.4)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    draw(tmp_path, {"vectors": measured(0.4)})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    draw(tmp_path, {"vectors": measured(1.2)})
    assert all(path.read_bytes() != before[path.name] for path in tmp_path.iterdir())


def test_the_curve_is_recall_at_every_depth() -> None:
    found = measured(0.8)
    line = drawn(plots._recall, {"x": found}).axes[0].lines[0]
    at = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert sorted(at) == list(range(1, 51))
    for k in (1, 2, 4, 8):
        assert at[k] == pytest.approx(found.figures[f"recall@{k}"])


def test_the_share_of_classes_rises_to_one() -> None:
    found = measured(0.8)
    line = drawn(plots._classes, {"x": found}).axes[0].lines[0]
    values = [figures["map@r"] for figures in found.scores.by_class().values()]
    assert sorted(line.get_xdata()[1:]) == pytest.approx(sorted(values))
    assert line.get_ydata()[0] == 0 and line.get_ydata()[-1] == pytest.approx(1)


def test_the_legend_counts_right_and_wrong_hits() -> None:
    legend = drawn(plots._scores, measured(0.8)).axes[0].get_legend()
    wrong, right = (int(re.sub(r"\D", "", text.get_text())) for text in legend.get_texts())
    assert wrong + right == 150 * 10 and 0 < right <= 150 * 4


def test_the_calibration_plot_says_its_figures() -> None:
    figures = trust().figures()
    legend = drawn(plots.calibration, trust(), "here").axes[0].get_legend()
    assert legend.get_texts()[0].get_text() == (
        f"here  ECE {figures['ece']:.3f}, Brier {figures['brier']:.3f} (constant {figures['brier_of_constant']:.3f})"
    )


# What could break a plot


@pytest.mark.parametrize("name", ["$x^$", "a_{$", "_hidden", "ünï", "$", "a" * 60])
def test_names_are_shown_as_they_are(name: str, tmp_path: Path) -> None:
    paths = draw(tmp_path, {name: measured(0.4)})
    assert all(pixels_of(path, COLOURS[0]) > 500 for path in paths)
    assert len(drawn(plots._recall, {name: measured(0.4)}).axes[0].get_legend().get_texts()) == 1


def test_one_class_of_two_equal_pictures(tmp_path: Path) -> None:
    vectors = np.full((2, 3), 3**-0.5, np.float32) * np.float32(1.0000002)  # a score above 1, as rounding makes it
    for path in draw(tmp_path, {"x": measure(vectors, {"label": ["a", "a"]})}):
        assert pixels_of(path, COLOURS[0]) > 500


def served(answer: list[tuple[str, float]]) -> Measurement:
    table = {"path": ["1.png", "2.png"], "label": ["a", "a"], "split": ["test", "test"]}
    return measure_search(lambda *_: answer, lambda _: True, Dataset(Path("shop"), table, range(2)), None, 10)


def test_a_service_that_found_nothing(tmp_path: Path) -> None:
    assert len(draw(tmp_path, {"x": served([])})) == 3


def test_items_that_the_data_does_not_list_are_drawn_as_wrong_hits() -> None:
    legend = drawn(plots._scores, served([("stranger.png", 0.9), ("1.png", 0.8)])).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["wrong (2)", "right (1)"]
