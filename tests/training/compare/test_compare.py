"""A comparison from labelled pictures to figures, in small; interrupted, and gone on with."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.compare import protocol
from training.compare.baselines import CONTENDERS
from training.compare.protocol import Asked, CompareError, compare, trials
from training.compare.results import conclude
from training.compare.stages import Choice, Heads
from training.config import TrainingConfig
from training.datasets import DataError
from training.datasets.labels import Dataset, read

CONFIG = TrainingConfig(
    image_size=48, train_size=32, dim=16, batch=16, epochs=1, head_epochs=1, precision="f32", learning_rate=1e-4
)
ASKED = Asked(("softtriple", "softmax", "triplet", "contrastive"), trials=2, seeds=2, full_seeds=1, minutes=0.001, mask="hand")


@pytest.fixture(scope="module")
def shapes(drawings: Path) -> Dataset:
    return read(drawings)


@pytest.fixture(scope="module")
def folder(shapes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "HEAD_EPOCHS", 2)
        return compare(shapes, tmp_path_factory.mktemp("compare") / "losses", CONFIG, ASKED).path


@pytest.fixture(scope="module")
def found(folder: Path) -> dict:
    return conclude(protocol.Folder(folder))


def lines(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_every_loss_has_the_same_trials_on_validation_classes(folder: Path) -> None:
    made = lines(folder, "trials.jsonl")
    assert [(each["loss"], each["number"]) for each in made if each["stage"] == "heads"] == [
        (loss, number) for loss in ASKED.losses for number in range(2)
    ]
    assert all(0 < each["figures"]["map@r"] <= 1 for each in made)
    assert {each["choice"]["settings"].get("learning_rate") for each in made if each["stage"] == "networks"} == {
        1e-4,
        5e-5,
        2e-4,
    }


def test_the_best_trial_is_frozen_and_used_by_all_runs(folder: Path) -> None:
    made, frozen = lines(folder, "trials.jsonl"), json.loads((folder / "settings.json").read_text())
    for stage, those in frozen.items():
        for loss, choice in those.items():
            of_loss = [each for each in made if (each["stage"], each["loss"]) == (stage, loss)]
            assert choice["trial"] == max(of_loss, key=lambda each: each["figures"]["map@r"])["number"]
    for run in lines(folder, "runs.jsonl"):
        assert run["choice"].items() <= frozen[run["stage"]][run["loss"]].items()


def test_what_a_comparison_says(found: dict) -> None:
    heads, networks = found["stages"]["heads"], found["stages"]["networks"]
    assert (heads["seeds"], heads["queries"], heads["classes"], list(heads["losses"])) == (2, 24, 4, list(ASKED.losses))
    assert (networks["seeds"], list(networks["losses"])) == (1, ["softtriple", "softmax", "triplet", "contrastive"])
    for stage in (heads, networks):
        for loss, each in stage["losses"].items():
            assert each["title"] == CONTENDERS[loss].title and each["trials"]["count"] == (2 if stage is heads else 3)
            assert ("difference" in each, "masked_difference" in each) == (loss != "softtriple",) * 2
            assert each["cost"]["seconds"] > 0 and each["cost"]["images_per_second"] > 0 and each["cost"]["peak_gb"] > 0
            assert (each["cost"]["visited"] is not None) == (loss in ("triplet", "contrastive"))
            if loss != "softtriple":
                low, high = each["difference"]["recall@1"]["interval"]
                gained = stage["losses"]["softtriple"]["figures"]["recall@1"]["mean"] - each["figures"]["recall@1"]["mean"]
                assert each["difference"]["recall@1"]["mean"] == pytest.approx(gained) and low <= gained <= high
    assert [Path(plot).name for plot in found["plots"]] == ["heads.png", "networks.png"]
    assert all(Path(plot).stat().st_size > 5000 for plot in found["plots"])


def test_the_figures_are_those_of_the_run(folder: Path, found: dict) -> None:
    run = next(each for each in lines(folder, "runs.jsonl") if each["stage"] == "heads")
    with np.load(folder / run["tested"]) as kept:
        assert kept["plain_sums"].shape == (4, 8) and kept["plain_counts"].tolist() == [6] * 4
        assert kept["masked_counts"].sum() == 24


def test_gone_on_with_it_does_nothing_twice(
    folder: Path, found: dict, shapes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_EPOCHS", 2)
    monkeypatch.setattr(Heads, "learn", lambda *_: pytest.fail("a run was repeated"))
    before = {path: path.read_bytes() for path in folder.rglob("*.json*")}
    compare(shapes, folder, CONFIG, ASKED)
    assert {path: path.read_bytes() for path in folder.rglob("*.json*")} == before


def test_interrupted_it_ends_with_the_same_figures(
    found: dict, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each trial and run of heads in turn, and while a line is written."""
    monkeypatch.setattr(protocol, "HEAD_EPOCHS", 2)
    learn, left = Heads.learn, 1

    def some(self: Heads, *arguments: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return learn(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Heads, "learn", some)
    asked, to = Asked(ASKED.losses, 2, 2, 0, ASKED.minutes, "hand"), tmp_path / "losses"
    for _ in range(30):
        left = 3
        try:
            compare(shapes, to, CONFIG, asked)
            break
        except KeyboardInterrupt:
            with (to / "trials.jsonl").open("a") as file:
                file.write('{"stage": "hea')
    again = conclude(protocol.Folder(to))["stages"]["heads"]["losses"]
    for loss, each in found["stages"]["heads"]["losses"].items():
        assert {name: again[loss][name] for name in ("figures", "masked", "choice")} == {
            name: each[name] for name in ("figures", "masked", "choice")
        }


@pytest.mark.parametrize("loss", CONTENDERS)
def test_trials_begin_with_the_published_parameters(loss: str) -> None:
    found = trials(loss, 12)
    assert found[0] == Choice(loss, CONTENDERS[loss].published)
    assert len(found) == 12 == len({json.dumps([dict(each.parameters), dict(each.settings)]) for each in found})
    assert found == trials(loss, 12) and found[:5] == trials(loss, 5)
    for each in found:
        each.config(CONFIG)


def test_no_more_trials_than_there_are_settings() -> None:
    assert len(trials("triplet", 1000)) == 12


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (("softtriple", "quadruplet"), "There is no loss 'quadruplet'. There are: softtriple, softmax"),
        (("softmax", "triplet"), "needs softtriple and at least one other"),
        (("softtriple",), "needs softtriple and at least one other"),
    ],
)
def test_losses_that_cannot_be_compared(losses: tuple[str, ...], said: str, shapes: Dataset, tmp_path: Path) -> None:
    with pytest.raises(CompareError, match=said):
        compare(shapes, tmp_path / "losses", CONFIG, Asked(losses))
    assert not (tmp_path / "losses").exists()


def test_without_validation_classes_nothing_can_be_tuned(shapes: Dataset, tmp_path: Path) -> None:
    rows = [row for row, split in enumerate(shapes.table["split"]) if split != "validation"]
    with pytest.raises(DataError, match="no images in the split validation"):
        compare(shapes.rows(rows), tmp_path / "losses", CONFIG, ASKED)


def test_another_comparison_in_the_folder_is_refused(folder: Path, shapes: Dataset) -> None:
    with pytest.raises(CompareError, match="holds a comparison with other settings: trials was 2, now 3"):
        compare(shapes, folder, CONFIG, Asked(ASKED.losses, 3, 2, 1, ASKED.minutes, "hand"))


def test_a_folder_of_something_else_is_refused(shapes: Dataset, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(CompareError, match="holds no comparison"):
        compare(shapes, tmp_path, CONFIG, ASKED)


def test_other_pictures_are_refused(folder: Path, shapes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "digest", lambda *_: "of others")
    with pytest.raises(CompareError, match=r"have changed since .* was begun"):
        compare(shapes, folder, CONFIG, ASKED)
