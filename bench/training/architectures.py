"""Do networks of very different kinds go all the way? Training → bundle → OpenVINO → index → search.

A slice of the emoji, one epoch, random weights out of a file in the format that others publish (but for EfficientNet-Lite0,
which has its package), so no figure says how good a network is. Compared: the vectors in the index, with those of torch in
float32 of the same bundle; and whether every picture finds itself.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import timm
import torch

from index.catalog import Catalog
from index.job import job
from index.search.searcher import Searcher
from model.bundle import Bundle
from model.encoder import open_encoder
from training.config import TrainingConfig
from training.datasets.check import decode
from training.datasets.labels import read
from training.train import metrics, train

from . import sets
from .cells import Asked, Cell, Figures, Row
from .figures import preset, settings

_SIZE, _EVERY = 64, 24
State = dict[str, torch.Tensor]


def _published(state: State) -> dict[str, Any]:
    """As torchvision's references and many others save it, with a prefix of parallel training."""
    return {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3}


def _dino(state: State) -> dict[str, Any]:
    """As DINO's authors save a training: student and teacher, each with the head of their task."""
    heads = ("head.mlp.0.weight", "head.mlp.0.bias", "head.last_layer.weight_g", "head.last_layer.weight_v")
    teacher = {f"backbone.{name}": tensor for name, tensor in state.items() if not name.startswith("head.")}
    teacher |= {name: torch.ones(2, 2) for name in heads}
    return {"student": {f"module.{name}": torch.zeros_like(each) for name, each in teacher.items()}, "teacher": teacher}


# Title: the network's name, how its file is written (None: a package has it), and settings of its own.
_KINDS: dict[str, tuple[str, Callable[[State], dict[str, Any]] | None, dict[str, Any]]] = {
    "ResNet-18": ("resnet18", _published, {}),
    "EfficientNet-Lite0": ("tf_efficientnet_lite0", None, {}),
    "MobileNetV3 small": ("mobilenetv3_small_100", _published, {}),
    "ConvNeXt atto": ("convnext_atto", _published, {"pooling": "avg"}),
    "RegNetX-200MF": ("regnetx_002", _published, {"pooling": "avg+max"}),
    "ViT tiny": ("vit_tiny_patch16_224", _published, {"pooling": "avg"}),
    "Swin tiny": ("swin_tiny_patch4_window7_224", _published, {"pooling": "avg"}),
    "ViT small, DINO's file": ("vit_small_patch16_224", _dino, {"pooling": "cls"}),
}


def measure(config: TrainingConfig, write: Callable[[State], dict[str, Any]] | None, every: int) -> Figures:
    with TemporaryDirectory() as place:
        folder = Path(place)
        data = sets.part("emoji", every, folder / "emoji")
        if write is not None:
            torch.manual_seed(config.seed)
            torch.save(write(timm.create_model(config.backbone).state_dict()), folder / "weights.pth")
            config = config.model_copy(update={"weights": str(folder / "weights.pth")})
        started = time.monotonic()
        bundle = train(read(data), folder / "bundle", config)
        assert bundle is not None
        trained = time.monotonic()
        report = job.run(data, bundle, open_encoder(bundle, "openvino"), folder / "collection")
        indexed = time.monotonic()
        return {
            "train seconds": round(trained - started, 1),
            "index seconds": round(indexed - trained, 1),
            "indexed": report.count,
            "dimensions": bundle.manifest.architecture.dim,
            "R@1": round(metrics(bundle)["recall@1"], 4),
            **_searched(data, bundle, folder / "collection"),
        }


def _searched(data: Path, bundle: Bundle, collection: Path) -> dict[str, float]:
    """Every picture is searched by its vector of torch; its own score is the cosine with the vector that the index has."""
    source = read(data)
    queries = open_encoder(bundle, "torch", "f32").encode(decode(source, bundle.manifest.transform)[0].pixels)
    catalog = Catalog(collection)
    try:
        generation = catalog.state().generation
        assert generation is not None
        searcher = Searcher(collection, catalog, generation, queries.shape[1])
        cosines, first = [], []
        for path, query in zip(source.table["path"], queries, strict=True):
            hits = searcher.search(query, len(source))
            own = next(hit.score for hit in hits if hit.item.id == path)
            cosines.append(own)
            first.append(own >= hits[0].score - 1e-6)  # pictures that are alike may have one vector
    finally:
        catalog.close()
    return {"cosine, least": round(float(min(cosines)), 6), "finds itself": round(float(np.mean(first)), 4)}


def cells(asked: Asked, seed: int) -> Iterator[Cell]:
    for variant, (name, write, own) in _KINDS.items():
        changes = {"backbone": name, "image_size": _SIZE, "train_size": _SIZE, "first_size": None, "epochs": 1} | own
        config = preset(asked, seed, **changes).model_copy(update=changes)  # sizes hold, though all is tiny
        every = 4 * _EVERY if asked.tiny else _EVERY
        kept = {"every": every, "config": settings(config)}
        yield Cell(variant, seed, kept, partial(measure, config, write, every))


_COLUMNS = ("dimensions", "indexed", "train seconds", "index seconds", "cosine, least", "finds itself")
ROWS = (
    Row(
        "architectures",
        "Do networks of very different kinds go all the way, from training to search? Random weights.",
        cells,
        {name: name for name in _COLUMNS},
    ),
)
