"""What a whole training puts into its bundle for people: the report and the card, with an audit and a comparison if asked."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from test_train import SMALL, lighten, made

from training.datasets import DataError
from training.datasets.labels import read

WRONG = "0-0.png"


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    lighten(monkeypatch)


@pytest.fixture
def mislabelled(drawings: Path, tmp_path: Path) -> Path:
    """One label to learn from is another class's."""
    data = shutil.copytree(drawings, tmp_path / "shapes")
    rows = list(csv.DictReader((data / "labels.csv").read_text().splitlines()))
    other = next(row["label"] for row in rows if row["path"] == "5-0.png")
    with (data / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(row | ({"label": other} if row["path"] == WRONG else {}) for row in rows)
    return data


def test_an_audit_shows_its_suspects_in_the_report(mislabelled: Path, tmp_path: Path) -> None:
    bundle = made(read(mislabelled), tmp_path / "shop", SMALL.model_copy(update={"seed": 3}), audit=True)
    page = (bundle.path / "report.html").read_text()
    suspects = page[page.index("Labels worth a second look") :]
    assert WRONG in suspects[: suspects.index("</section>")]
    assert (bundle.path / "MODEL_CARD.md").read_text().startswith("# shop")


def test_without_an_audit_nothing_is_said_of_labels(drawings: Path, tmp_path: Path) -> None:
    bundle = made(read(drawings), tmp_path / "shop")
    assert "Labels worth a second look" not in (bundle.path / "report.html").read_text()


def test_a_final_fit_has_the_report_of_the_run_that_was_measured(drawings: Path, tmp_path: Path) -> None:
    bundle = made(read(drawings), tmp_path / "shop", final_fit=True)
    assert "then learnt anew from all classes" in (bundle.path / "report.html").read_text()


def stage() -> dict:
    figures = {name: {"mean": 0.5, "deviation": 0.01} for name in ("recall@1", "map@r")}
    loss = {"figures": figures, "cost": {"seconds": 3.0}}
    less = {"difference": {"recall@1": {"mean": 0.02, "interval": [0.01, 0.03]}}}
    losses = {"softtriple": loss | {"title": "SoftTriple"}, "triplet": loss | less | {"title": "triplet, semi-hard"}}
    return {"seeds": 10, "queries": 40, "classes": 4, "losses": losses}


def test_a_comparison_is_shown_in_the_report(drawings: Path, tmp_path: Path) -> None:
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses" / "comparison.json").write_text(json.dumps({"stages": {"heads": stage()}, "plots": []}))
    bundle = made(read(drawings), tmp_path / "shop", comparison=tmp_path / "losses")
    assert "triplet, semi-hard" in (bundle.path / "report.html").read_text()


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_a_folder_without_a_comparison_is_told_before_the_training(content: str | None, drawings: Path, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(DataError, match="holds no finished comparison"):
        made(read(drawings), tmp_path / "shop", comparison=tmp_path)
    assert not (tmp_path / "shop").exists() and not (tmp_path / "shop.run").exists()
