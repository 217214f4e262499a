"""A network in, a bundle on disk out: weights, OpenVINO and ONNX forms, and how far the runtimes agree."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save as tensor_bytes

from model import backbones
from model.bundle import Agreement, Architecture, Bundle, Manifest, Pooling, fingerprint, load, seal, writing
from model.encoder import open_encoder
from model.network import EmbeddingNetwork, export_onnx, export_openvino
from model.network import architecture as architecture_of
from model.transform import RULES, Transform

AGREEMENT_IMAGES = 200
Reports = Callable[[Bundle], Mapping[str, Any]]  # texts and what is to be JSON, by names of files


def untrained(
    to: Path,
    transform: Transform,
    backbone: str = "efficientnet_lite0",
    sample: np.ndarray | None = None,
    *,
    weights: str = "",
    pooling: Pooling = "avg",
    onnx: bool = True,
    reports: Reports | None = None,
) -> Bundle:
    """A bundle of a backbone as it is, without a head: image search for people who have no labels.

    ``weights``: a file to take instead of what the backbone's name stands for. ``onnx``, ``reports``: see ``save``. Raises
    ``BackboneError``.
    """
    architecture = architecture_of(backbone, dim=None, pooling=pooling, image_size=transform.size)
    network = EmbeddingNetwork(architecture, pretrained=True, weights=weights)
    origin = backbones.origin(backbone, weights)
    return save(network, architecture, transform, to, origin=origin, sample=sample, onnx=onnx, reports=reports)


def save(
    network: EmbeddingNetwork,
    architecture: Architecture,
    transform: Transform,
    to: Path,
    *,
    name: str = "",
    weights: str = "",
    origin: str = "",
    onnx: bool = True,
    training: dict[str, Any] | None = None,
    sample: np.ndarray | None = None,
    reports: Reports | None = None,
) -> Bundle:
    """Write the bundle ``to`` in one piece.

    ``name``: if not that of ``to``. ``origin``: where the backbone's weights came from, if not asked of ``weights``, the
    file that they were read from. ``onnx`` False saves seconds for a bundle that is soon thrown away. ``sample`` (uint8
    [N, size, size, 3]) measures the runtimes' agreement. What ``reports`` finds out about the finished bundle is kept in
    it, by names of files: text as it is, everything else as JSON.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    manifest = Manifest(
        name=name or to.name,
        fingerprint=fingerprint({n: t.numpy() for n, t in state.items()}, architecture, transform),
        rules=RULES,
        architecture=architecture,
        transform=transform,
        origin=origin or backbones.origin(architecture.backbone, weights),
        training=training,
    )
    with writing(to) as draft:
        # save_file would make the file private to its owner, and a server often runs as somebody else.
        (draft / "weights.safetensors").write_bytes(tensor_bytes(state))
        export_openvino(network, transform.size, draft / "openvino")
        if onnx:
            export_onnx(network, transform.size, draft / "onnx")
        if sample is not None and len(sample):
            manifest.agreement = agreement(Bundle(draft, manifest), sample[:AGREEMENT_IMAGES])
        for file, report in (reports(Bundle(draft, manifest)) if reports else {}).items():
            text = report if isinstance(report, str) else json.dumps(report, indent=2) + "\n"
            (draft / file).write_text(text, encoding="utf-8")
        seal(draft, manifest)
    return load(to)


def agreement(bundle: Bundle, images: np.ndarray) -> dict[str, Agreement]:
    """Cosines of OpenVINO's vectors, in both precisions, with those of torch in float32."""
    reference = open_encoder(bundle, "torch", "f32").encode(images)
    found = {}
    for precision in ("f32", "bf16"):
        cosines = (open_encoder(bundle, "openvino", precision).encode(images) * reference).sum(axis=1)
        found[f"openvino-{precision}"] = Agreement(
            images=len(images), median=float(np.median(cosines)), minimum=float(cosines.min())
        )
    return found
