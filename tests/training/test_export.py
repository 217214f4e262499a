"""A network of any kind → a bundle → the same vectors from torch, OpenVINO and ONNX."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from safetensors.torch import save_file

from model import backbones
from model.backbones import BackboneError
from model.bundle import Bundle, load
from model.encoder import open_encoder
from model.network import EmbeddingNetwork, architecture
from model.transform import Transform
from training.export import save, untrained

SIZE = 32
TRANSFORMER = "vit_tiny_patch16_224"
RANDOM = ["resnet18", "mobilenetv3_small_100", "convnext_atto", "regnetx_002", TRANSFORMER]


def pixels(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, size, size, 3), np.uint8)


def random_weights(name: str, to: Path, **more) -> Path:
    torch.manual_seed(0)
    save_file(timm.create_model(name, **more).state_dict(), to)
    return to


def same_everywhere(bundle: Bundle) -> None:
    """Cosine with torch: OpenVINO 0.999, ONNX 0.9999, one by one and together."""
    images = pixels(3, bundle.manifest.transform.size)
    expected = open_encoder(bundle, "torch").encode(images)
    assert expected.shape == (3, bundle.manifest.architecture.dim)
    assert (expected @ expected.T)[0, 1] < 0.999999  # another picture, another vector
    assert (open_encoder(bundle, "openvino", "f32").encode(images) * expected).sum(1).min() > 0.999
    session = onnxruntime.InferenceSession(bundle.path / "onnx" / "model.onnx")
    together = session.run(None, {"pixels": images})[0]
    alone = np.concatenate([session.run(None, {"pixels": images[row : row + 1]})[0] for row in range(3)])
    for vectors in (together, alone):
        assert vectors.shape == expected.shape and vectors.dtype == np.float32
        assert (vectors * expected).sum(1).min() > 0.9999


@pytest.mark.parametrize("name", RANDOM)
def test_a_backbone_with_weights_of_a_file(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights = random_weights(name, tmp_path / "my.safetensors")
    made = untrained(tmp_path / "bundle", Transform(size=SIZE), name, weights=str(weights), pooling="avg+max")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert made == load(tmp_path / "bundle") and made.manifest.architecture.pooling == "avg+max"
    assert made.manifest.origin == backbones.origin(name, str(weights)) and "my.safetensors" in made.manifest.origin
    same_everywhere(made)


def test_efficientnet_with_a_trained_head(tmp_path: Path) -> None:
    made = architecture("tf_efficientnet_lite0", dim=16, image_size=SIZE)
    network = EmbeddingNetwork(made, pretrained=True)
    reports = {"notes.txt": "as it is", "figures.json": {"a": 1}}
    bundle = save(network, made, Transform(size=SIZE), tmp_path / "b", name="mine", reports=lambda _: reports)
    assert bundle.manifest.name == "mine" and bundle.manifest.origin.startswith("EfficientNet-Lite0, ImageNet")
    assert (bundle.path / "notes.txt").read_text() == "as it is"
    assert json.loads((bundle.path / "figures.json").read_text()) == {"a": 1}
    same_everywhere(bundle)


def test_swin_whose_maps_have_channels_last(tmp_path: Path) -> None:
    made = architecture("swin_tiny_patch4_window7_224", dim=16, image_size=SIZE)
    same_everywhere(save(EmbeddingNetwork(made, pretrained=False), made, Transform(size=SIZE), tmp_path / "b", origin="a test"))


def test_dino_in_its_own_format_by_its_class_token(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = timm.create_model(TRANSFORMER, num_classes=0).state_dict()
    torch.save({"teacher": {f"backbone.{key}": tensor for key, tensor in state.items()}}, tmp_path / "dino.pth")
    made = untrained(tmp_path / "b", Transform(size=64), TRANSFORMER, weights=str(tmp_path / "dino.pth"), pooling="cls")
    assert (made.manifest.architecture.input_size, made.manifest.architecture.dim) == (64, 192)
    same_everywhere(made)


def test_what_openvino_cannot_run_is_a_sentence(tmp_path: Path) -> None:
    weights = random_weights("test_vit2", tmp_path / "my.safetensors")  # resamples its positions at every image
    with pytest.raises(BackboneError, match=r"OpenVINO cannot run test_vit2 .*bicubic"):
        untrained(tmp_path / "b", Transform(size=SIZE), "test_vit2", weights=str(weights), onnx=False)
    assert not (tmp_path / "b").exists()


def test_a_bundle_to_throw_away_has_no_onnx(tmp_path: Path) -> None:
    made = untrained(tmp_path / "b", Transform(size=SIZE), onnx=False)
    assert not (made.path / "onnx").exists() and made.openvino.is_file()
