"""A real training of a few seconds, with all that a report is made of."""

from pathlib import Path

import numpy as np
import pytest

from model.encoder import open_encoder
from model.transform import Transform
from training.config import TrainingConfig
from training.datasets.check import decode
from training.datasets.labels import read
from training.evaluate import evaluate, measure
from training.examples import of
from training.export import save
from training.report import Images, Material
from training.trainer import fit


@pytest.fixture(scope="session")
def material(drawings: Path, tmp_path_factory) -> Material:
    data, size = read(drawings), 64
    pixels = decode(data, Transform(size=size), lambda _: None)[0].pixels
    rows = {split: np.array(data.rows_of(split)) for split in ("train", "validation", "test")}
    tables = {split: data.rows(those.tolist()).table for split, those in rows.items()}
    config = TrainingConfig(epochs=2, dim=16, batch=20, image_size=size, train_size=size)
    trained = fit(
        of(pixels, tables["train"]["label"], tables["train"]["path"], rows["train"]),
        config,
        validate=lambda embed: measure(embed(pixels[rows["validation"]]), tables["validation"]).figures,
    )
    bundle = save(
        trained.network,
        trained.network.architecture,
        Transform(size=size),
        tmp_path_factory.mktemp("report") / "shapes",
        onnx=False,
        training={"config": config.model_dump(mode="json"), "classes": 10, "images": 60, **trained.record},
    )
    return Material(
        bundle.manifest,
        [{**record, "phase": "train"} for record in trained.history],
        evaluate(bundle, pixels[rows["test"]], tables["test"], "hand"),
        Images(pixels, rows["test"], tables["test"]),
        Images(pixels, rows["train"], tables["train"]),
        trained.centers,
        tuple(sorted(set(tables["train"]["label"]))),
        open_encoder(bundle).encode,
        data.root,
    )
