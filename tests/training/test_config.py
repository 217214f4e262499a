"""Settings: presets, key=value, files, bundles; and what the paper's preset has in common with the paper."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from model.transform import Transform
from training.config import PRESETS, Augmentation, ConfigError, TrainingConfig, resolve

# What they are made of


def test_without_anything_it_is_the_preset_best() -> None:
    assert resolve() == resolve("best") == TrainingConfig()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_one(name: str) -> None:
    assert isinstance(resolve(name), TrainingConfig)


def test_quick_is_shorter_than_best() -> None:
    assert resolve("quick").epochs < resolve("best").epochs


def test_settings_win_over_the_preset_and_arguments_over_settings() -> None:
    found = resolve("paper:cub", ["dim=64", "epochs=7"], epochs=3, seed=None)
    assert (found.dim, found.epochs, found.seed, found.centers) == (64, 3, 0, 10)


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("dim=64", "dim", 64),
        (" dim = 64 ", "dim", 64),
        ("learning_rate=1e-4", "learning_rate", 1e-4),
        ("backbone=resnet18", "backbone", "resnet18"),
        ("weights=a=b.pt", "weights", "a=b.pt"),
        ("first_size=null", "first_size", None),
        ("milestones=[2, 4]", "milestones", (2, 4)),
        ("singles=auto", "singles", "auto"),
    ],
)
def test_a_setting_sets(setting: str, name: str, value: Any) -> None:
    assert getattr(resolve("best", [setting]), name) == value


def test_one_change_of_augmentation_leaves_the_others_and_the_preset() -> None:
    plain = resolve("paper:cub").augmentation
    found = resolve("paper:cub", ["augmentation.flip=0.25", "augmentation.zoom=[0.5, 1]"]).augmentation
    assert found == plain.model_copy(update={"flip": 0.25, "zoom": (0.5, 1.0)})
    assert resolve("paper:cub").augmentation == plain
    assert resolve("best", ["augmentation.grey=0"]).augmentation == resolve("best").augmentation.model_copy(
        update={"grey": 0.0}
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["dim"], r"'dim' sets nothing\. Write --set key=value"),
        (["learning_rat=1"], r"no setting 'learning_rat'\. Near it are: learning_rate"),
        (["center=3"], r"no setting 'center'\. Near it are: .*centers"),
        (["augmentation.flop=0.5"], r"no setting 'augmentation\.flop'\. Near it are: .*augmentation\.flip"),
        (["augmentation=3"], r"no setting 'augmentation'"),
        (["dim.x=3"], r"no setting 'dim\.x'"),
        (["zzzzzz=1"], r"no setting 'zzzzzz'\. There are: backbone, weights, .*augmentation\.erase\."),
        (["dim=0"], r"The setting dim cannot be 0: input should be greater than 0\."),
        (["dim=wide"], r"The setting dim cannot be 'wide'"),
        (["augmentation.flip=2"], r"The setting augmentation\.flip cannot be 2"),
        (["augmentation.zoom=[1]"], r"The setting augmentation\.zoom\.1 cannot be"),
        (["pooling=max"], r"The setting pooling cannot be 'max': input should be 'avg', 'avg\+max' or 'cls'\."),
        (["warm_up=1"], r"The setting warm_up cannot be 1"),
    ],
)
def test_what_cannot_be_set_is_a_sentence(settings: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        resolve("best", settings)


def test_an_argument_that_does_not_exist_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"no setting 'epoch'\. Near it are: epochs"):
        resolve("best", epoch=3)


# Files and bundles


def test_a_file_of_settings_is_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"dim": 32, "augmentation": {"flip": 0.5}}')
    found = resolve(str(file), ["epochs=2"])
    assert found == TrainingConfig(dim=32, epochs=2, augmentation=Augmentation(flip=0.5))


def test_a_bundle_is_a_preset(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text('{"name": "shop", "training": {"config": {"dim": 24}}}')
    assert resolve(str(tmp_path), seed=4) == TrainingConfig(dim=24, seed=4)


@pytest.mark.parametrize("content", ["", "{", "3", "null", '{"training": null}', '{"training": {}}'])
def test_a_bundle_without_settings_is_a_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text(content)
    with pytest.raises(ConfigError, match=r"bundle\.json holds no settings of a training"):
        resolve(str(tmp_path))


def test_a_file_with_a_wrong_name_is_told_with_the_near_one(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"dims": 32}')
    with pytest.raises(ConfigError, match=r"no setting 'dims'\. Near it are: dim"):
        resolve(str(tmp_path / "mine.json"))


@pytest.mark.parametrize("preset", ["bestest", "paper", "paper:birds", ""])
def test_an_unknown_preset_is_told_with_those_there_are(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no preset .*Choose quick, best, paper:cub, .*, a bundle, or a JSON file|holds no"):
        resolve(preset)


augmentations = st.builds(
    Augmentation,
    window=st.sampled_from(["zoom", "crop"]),
    zoom=st.tuples(st.floats(0.1, 1), st.floats(1, 2)),
    rotation=st.floats(-90, 90),
    flip=st.floats(0, 1),
    erase=st.floats(0, 1),
)
configs = st.builds(
    TrainingConfig,
    backbone=st.text(max_size=8),
    pooling=st.sampled_from(["avg", "avg+max", "cls"]),
    dim=st.integers(1, 4096),
    fit=st.sampled_from(["pad", "crop"]),
    center_start=st.sampled_from(["random", "data"]),
    margin=st.floats(0, 1),
    epochs=st.integers(0, 1000),
    first_size=st.none() | st.integers(1, 500),
    schedule=st.sampled_from(["one_cycle", "steps"]),
    milestones=st.lists(st.integers(0, 100), max_size=4).map(tuple),
    learning_rate=st.floats(0, 1, exclude_min=True),
    ema=st.floats(0, 1, exclude_max=True),
    singles=st.sampled_from(["keep", "leave", "auto"]),
    augmentation=augmentations,
    seed=st.integers(0, 2**31),
)


@given(configs)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_is_written_down_comes_back_unchanged(tmp_path: Path, config: TrainingConfig) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(config.model_dump(mode="json")))
    assert resolve(str(file)) == config


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        TrainingConfig().dim = 3  # type: ignore[misc]


# The paper


PAPER: dict[str, Any] = {
    # Qian et al., section 4: "λ = 20, γ = 0.1, τ = 0.2 and δ = 0.01", 512 dimensions, Adam with ε = 0.01, 50 epochs of
    # batches of 32, rates 1e-4 and (centres) 1e-2, divided by 10 at 20 and 40; weight decay as in the authors' code.
    "scale": 20.0,
    "gamma": 0.1,
    "tau": 0.2,
    "margin": 0.01,
    "dim": 512,
    "optimizer": "adam",
    "epsilon": 0.01,
    "center_epsilon": 0.01,
    "weight_decay": 1e-4,
    "center_weight_decay": 1e-4,
    "learning_rate": 1e-4,
    "head_learning_rate": 1e-4,
    "center_learning_rate": 1e-2,
    "schedule": "steps",
    "milestones": (20, 40),
    "epochs": 50,
    "batch": 32,
    "pooling": "avg",
    "image_size": 224,
    "train_size": 224,
    "first_size": None,
    "fit": "crop",
    # and nothing of what we add
    "center_start": "random",
    "head_epochs": 0,
    "balance": 0.0,
    "singles": "keep",
    "ema": 0.0,
    "clip": 0.0,
    "precision": "f32",
}


@pytest.mark.parametrize(("name", "centers"), [("cub", 10), ("cars", 10), ("sop", 2)])
@pytest.mark.parametrize("key", PAPER)
def test_the_papers_hyper_parameters(name: str, centers: int, key: str) -> None:
    found = resolve(f"paper:{name}")
    assert getattr(found, key) == PAPER[key]
    assert found.centers == centers


@pytest.mark.parametrize("name", ["cub", "cars", "sop", "inshop"])
def test_the_papers_augmentation_is_a_crop_and_a_flip(name: str) -> None:
    found = resolve(f"paper:{name}").augmentation
    assert (found.window, found.area, found.ratio, found.flip) == ("crop", (0.08, 1.0), (3 / 4, 4 / 3), 0.5)
    assert {found.brightness, found.contrast, found.saturation, found.grey, found.erase} == {0.0}


def test_the_papers_test_pictures_are_the_middle_of_256() -> None:
    config = resolve("paper:cub")
    assert Transform(size=config.image_size, fit=config.fit)._scaled == 256
