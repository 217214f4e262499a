"""Training learns, repeats itself bit by bit, says when it cannot go on, and leaves a bundle that tells what it can do."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from model import backbones, confidence
from model.bundle import Bundle, BundleError
from model.encoder import Encoder
from model.metrics import NAMES
from model.network import EmbeddingNetwork
from model.transform import Transform
from training import calibrate
from training import train as training
from training.config import TrainingConfig
from training.datasets import DataError
from training.datasets.check import decode
from training.datasets.labels import Dataset
from training.evaluate import check, evaluate, measure
from training.train import metrics, train
from training.trainer import Step, TrainingDiverged, architecture, fit

SMALL = TrainingConfig(image_size=48, train_size=48, dim=32, batch=32, epochs=1)


@pytest.fixture(scope="module")
def part(dataset: Dataset) -> Dataset:
    found = dataset.split("train")
    return found.rows([row for row, label in enumerate(found.labels) if label in sorted(set(found.labels))[:10]])


@pytest.fixture(scope="module")
def pixels(part: Dataset) -> np.ndarray:
    return decode(part, Transform(size=SMALL.image_size))[0].pixels


@pytest.fixture
def progress() -> Progress:
    return Progress(console=Console(file=io.StringIO()))


def trained(pixels: np.ndarray, part: Dataset, **options) -> tuple[EmbeddingNetwork, list[Step]]:
    steps: list[Step] = []
    return fit(pixels, part.labels, SMALL.model_copy(update=options), steps.append), steps


# Steps


def test_the_loss_falls_and_every_step_is_told(pixels: np.ndarray, part: Dataset) -> None:
    network, steps = trained(pixels, part, epochs=4)
    batches = -(-len(part) // SMALL.batch)
    assert [(step.number, step.of) for step in steps] == [(number + 1, 4 * batches) for number in range(4 * batches)]
    assert sum(step.images for step in steps) == 4 * len(part)
    assert steps[-1].loss < 0.9 * steps[0].loss
    assert not network.training
    with torch.inference_mode():
        vectors = network(torch.from_numpy(pixels))
    assert vectors.shape == (len(part), SMALL.dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(part)))


@pytest.fixture(scope="module")
def once(pixels: np.ndarray, part: Dataset) -> EmbeddingNetwork:
    return trained(pixels, part, seed=5)[0]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(once: EmbeddingNetwork, pixels, part: Dataset) -> None:
    first, again, other = once.state_dict(), *(trained(pixels, part, seed=seed)[0].state_dict() for seed in (5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert not torch.equal(first["backbone.conv_stem.weight"], other["backbone.conv_stem.weight"])


def test_statistics_of_batch_norm_stay_and_weights_do_not(once: EmbeddingNetwork) -> None:
    before, after = backbones.create(SMALL.backbone, pretrained=True), once.backbone
    for (name, old), new in zip(before.named_buffers(), after.buffers(), strict=True):
        assert torch.equal(old, new), name
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert not torch.equal(old, new), name


def test_an_absurd_learning_rate_is_told_with_what_to_do(pixels: np.ndarray, part: Dataset) -> None:
    with pytest.raises(TrainingDiverged, match=r"at step \d+ \(epoch \d+\)\. Train again with a tenth of the learning rate"):
        trained(pixels, part, epochs=3, learning_rate=1e12, head_learning_rate=1e12, warm_up=0.01)


# The bundle and its figures


def test_training_beats_the_backbone_on_classes_it_never_saw(bundle: Bundle, dataset: Dataset) -> None:
    assert not set(dataset.split("train").labels) & set(dataset.split("test").labels)
    found = metrics(bundle)
    assert found["recall@1"] > found["backbone"]["recall@1"] + 0.02
    assert found["masked"]["recall@1"] > found["backbone"]["masked"]["recall@1"]
    assert found["map@r"] > found["backbone"]["map@r"]
    gain = found["gains"]["map@r"]
    assert 0 < gain["interval"][0] < gain["mean"] < gain["interval"][1]


def test_metrics_and_record_say_what_was_done(bundle: Bundle, dataset: Dataset) -> None:
    test, part = dataset.split("test"), dataset.split("train")
    for found in (metrics(bundle), metrics(bundle)["backbone"]):
        assert set(found) - {"backbone", "gains"} == {*NAMES, "intervals", "classes", "queries", "distractors", "masked"}
        assert (found["classes"], found["queries"], found["distractors"]) == (len(set(test.labels)), len(test), 0)
        assert found["masked"]["by"] == "family"
        assert 0 < found["map@r"] < found["recall@1"] < found["recall@2"] < found["recall@4"] < found["recall@8"] < 1
        assert found["masked"]["recall@1"] < found["recall@1"]  # drawings by the same hand are the easiest to find
    record = bundle.manifest.training
    assert TrainingConfig.model_validate(record["config"]).image_size == bundle.manifest.transform.size == 96
    assert (record["classes"], record["images"]) == (len(set(part.labels)), len(part))
    assert record["seconds"] > 0 and record["torch"] == torch.__version__
    assert record["splitting"] is None  # labels.csv says it


def test_measuring_again_gives_the_same_figures(bundle: Bundle, backbone: Bundle, encoder: Encoder, dataset: Dataset) -> None:
    assert backbone.manifest.transform == bundle.manifest.transform
    test, found = dataset.split("test"), metrics(bundle)
    pixels = decode(test, bundle.manifest.transform)[0].pixels
    assert as_json(evaluate(bundle, pixels, test.table, "family").figures) == found
    assert as_json(measure(encoder.encode(pixels), test.table, "family").figures) == found["backbone"]
    alone = as_json(evaluate(bundle, pixels, test.table, beside_backbone=False).figures)
    assert alone == {name: found[name] for name in found if name not in ("masked", "backbone", "gains")}


def test_a_bundle_is_calibrated_on_classes_that_are_neither_trained_on_nor_tested(
    part: Dataset, dataset: Dataset, tmp_path: Path, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "MIN_CLASSES", 5)  # the slice has few
    rest = [row for row, split in enumerate(dataset.table["split"]) if split != "train"]
    names = {*part.table["path"], *(dataset.table["path"][row] for row in rest)}
    data = dataset.rows([row for row, path in enumerate(dataset.table["path"]) if path in names])
    made = train(data, tmp_path / "new", SMALL, None, progress)
    found = confidence.load(made)
    assert found is not None
    assert found.fitted_on["classes"] == len(set(dataset.split("validation").labels))
    assert metrics(made)["calibration"]["hits"] == 2 * 10 * len(dataset.split("test"))
    sure, unsure = found.confidence(np.array([0.99, 0.2]), 1000)
    assert sure > unsure


def test_too_few_classes_to_calibrate_leave_a_bundle_without(bundle: Bundle) -> None:
    assert confidence.load(bundle) is None
    assert "calibration" not in metrics(bundle)


def as_json(figures: dict) -> dict:
    return json.loads(json.dumps(figures))


# Failures


def test_what_cannot_be_measured_is_told(dataset: Dataset) -> None:
    single = dataset.rows([dataset.labels.index(label) for label in sorted(set(dataset.labels))[:5]])
    for refuse in (check, lambda table: measure(np.eye(5, dtype=np.float32), table)):
        with pytest.raises(DataError, match="no image to be measured has a second one of its class"):
            refuse(single.table)
    with pytest.raises(DataError, match="of its class with another label"):
        check(dataset.table, "label")
    with pytest.raises(DataError, match="no column 'artist'"):
        check(dataset.table, "artist")


def test_a_failure_before_the_training_costs_no_training(
    dataset: Dataset, tmp_path: Path, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "fit", lambda *_: pytest.fail("trained for nothing"))
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").touch()
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(dataset.paths[0].read_bytes()[:50])
    row = dataset.table["split"].index("test")
    paths = [*dataset.table["path"][:row], str(damaged), *dataset.table["path"][row + 1 :]]
    for data, to, mask, sentence in (
        (dataset.split("train"), tmp_path / "new", None, "no images in the split test"),
        (dataset.split("test"), tmp_path / "new", None, "no images in the split train"),
        (dataset, tmp_path / "new", "artist", "no column 'artist'"),
        (replace(dataset, table=dataset.table | {"path": paths}), tmp_path / "new", None, r"damaged\.png"),
        (dataset, thesis, None, "is not a bundle"),
    ):
        with pytest.raises((DataError, BundleError), match=sentence):
            train(data, to, SMALL, mask, progress)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis", "damaged.png"}


@pytest.mark.parametrize("stage", ["fit", "evaluate"])
def test_a_failure_later_leaves_nothing(
    stage: str, part: Dataset, tmp_path: Path, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_, **__):
        raise TrainingDiverged("as a test")

    data = part.rows(range(40))
    data = replace(data, table=data.table | {"split": ["train"] * 20 + ["test"] * 20})
    monkeypatch.setattr(training, "fit", lambda *_: EmbeddingNetwork(architecture(SMALL), pretrained=False))
    monkeypatch.setattr(training, stage, fail)
    with pytest.raises(TrainingDiverged), progress:
        train(data, tmp_path / "new", SMALL, None, progress)
    assert list(tmp_path.iterdir()) == []
