"""What this machine has, and what a training would cost here: measured on a few small pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training import doctor, trainer
from training.config import TrainingConfig
from training.datasets import DataError
from training.datasets.labels import Dataset, read
from training.doctor import estimate, machine

SMALL = TrainingConfig(
    backbone="efficientnet_lite0", image_size=32, train_size=32, first_size=None, batch=4, epochs=3, head_epochs=0
)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures of four classes, all of which are trained on but the last."""
    rows = ["path,label,split"]
    for number in range(12):
        tiles = np.random.default_rng(number).integers(0, 256, (3, 4, 3), np.uint8)
        Image.fromarray(tiles).resize((80, 60)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number % 4},{'test' if number % 4 == 3 else 'train'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "STEPS", 4)


def test_the_machine_is_described(tmp_path: Path) -> None:
    found = machine(tmp_path)
    assert set(found) == {"cores", "memory_gb", "disk_free_gb", "torch", "device", "npm"}
    assert 1 <= found["cores"] <= 4096
    assert 0.1 < found["memory_gb"] < 100_000
    assert found["disk_free_gb"] >= 0
    assert found["torch"] == torch.__version__
    assert isinstance(found["device"], str) and isinstance(found["npm"], bool)


def test_an_epoch_is_estimated(pictures: Path, quick) -> None:
    found = estimate(read(pictures), SMALL)
    counted = {name: found.pop(name) for name in ("images", "training_images", "training_classes", "epochs")}
    assert counted == {"images": 12, "training_images": 9, "training_classes": 3, "epochs": 3}
    assert found.pop("unreadable_in_sample") == 0
    assert found.pop("pixels_gb") == 0.0
    assert set(found) == {"reading_seconds", "images_per_second", "epoch_seconds", "training_seconds"}
    assert found["images_per_second"] > 0 and all(value >= 0 for value in found.values())


def test_seconds_follow_from_the_step(pictures: Path, monkeypatch) -> None:
    """Of steps of 8 s for 4 images: 9 images take 18 s an epoch."""
    monkeypatch.setattr(doctor, "_seconds_a_step", lambda *_: 8.0)
    found = estimate(read(pictures), SMALL)
    assert (found["images_per_second"], found["epoch_seconds"], found["training_seconds"]) == (0.5, 18.0, 54.0)


def test_the_first_step_and_the_slowest_do_not_count(monkeypatch) -> None:
    taken = iter([100.0, 1.0, 1.0, 200.0, 1.0])

    def step(training, rows, changes, epoch) -> None:
        assert len(rows) == len(training.examples) == 4 and training.examples.pixels.shape == (4, 32, 32, 3)
        training.seconds += next(taken)

    monkeypatch.setattr(doctor, "STEPS", 5)
    monkeypatch.setattr(trainer.Training, "step", step)
    assert doctor._seconds_a_step(np.zeros((3, 32, 32, 3), np.uint8), SMALL) == 1.0


def test_pictures_that_cannot_be_read_are_counted_and_left_out(pictures: Path, monkeypatch) -> None:
    (pictures / "3.png").write_bytes(b"no picture")
    (pictures / "4.png").unlink()
    seen = []

    def step(pixels: np.ndarray, _) -> float:
        seen.append(pixels)
        return 1.0

    monkeypatch.setattr(doctor, "_seconds_a_step", step)
    assert estimate(read(pictures), SMALL)["unreadable_in_sample"] == 2
    assert seen[0].shape == (10, 32, 32, 3)
    assert seen[0].reshape(10, -1).any(axis=1).all()  # none is the black of what could not be read


def test_without_any_picture_nothing_is_said_about_training(pictures: Path) -> None:
    for file in pictures.glob("*.png"):
        file.write_bytes(b"")
    found = estimate(read(pictures), SMALL)
    assert found["unreadable_in_sample"] == 12
    assert "reading_seconds" in found and "epoch_seconds" not in found and "images_per_second" not in found


def test_a_sample_is_enough(pictures: Path, monkeypatch) -> None:
    looked: list[Dataset] = []
    look = doctor.look

    def looking(data: Dataset, transform):
        looked.append(data)
        return look(data, transform)

    monkeypatch.setattr(doctor, "look", looking)
    monkeypatch.setattr(doctor, "PICTURES", 5)
    monkeypatch.setattr(doctor, "_seconds_a_step", lambda *_: 1.0)
    assert estimate(read(pictures), SMALL)["images"] == 12
    assert len(looked[0]) == 5 and len(set(looked[0].table["path"])) == 5


def test_nothing_to_train_on_ends_in_a_sentence(pictures: Path) -> None:
    table = (pictures / "labels.csv").read_text()
    (pictures / "labels.csv").write_text(table.replace("train", "test"))
    with pytest.raises(DataError, match="has no images in the split train; add classes or a split column"):
        estimate(read(pictures), SMALL)
