"""The pretrained weights see what is in a picture; a wrong name is a sentence."""

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from model import backbones
from model.bundle import Architecture
from model.network import EmbeddingNetwork, feature_count
from model.transform import Transform

PALACE, DAISY = 698, 985  # of ImageNet's 1,000 classes


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    transform = Transform(size=224, fit="crop")
    pictures = [transform.apply(Image.fromarray(load_sample_image(name))) for name in ("china.jpg", "flower.jpg")]
    return torch.stack([torch.tensor(picture) for picture in pictures])


def test_the_pretrained_classifier_knows_a_palace_and_a_daisy(pixels: torch.Tensor) -> None:
    backbone = backbones.get("efficientnet_lite0")
    classifier = backbones.with_classifier("efficientnet_lite0", pretrained=True).eval()
    with torch.inference_mode():
        scores = classifier((pixels.permute(0, 3, 1, 2) / 255 - backbone.mean) / backbone.std)
    assert scores.argmax(dim=1).tolist() == [PALACE, DAISY]
    assert scores.softmax(dim=1).amax(dim=1).min() > 0.25


def test_the_network_has_the_classifiers_features(pixels: torch.Tensor) -> None:
    backbone = backbones.get("efficientnet_lite0")
    architecture = Architecture(head=False, dim=feature_count("efficientnet_lite0"))
    network = EmbeddingNetwork(architecture, pretrained=True).eval()
    classifier = backbones.with_classifier("efficientnet_lite0", pretrained=True).eval()
    with torch.inference_mode():
        features = classifier.forward_features((pixels.permute(0, 3, 1, 2) / 255 - backbone.mean) / backbone.std)
        pooled = torch.nn.functional.normalize(classifier.forward_head(features, pre_logits=True), dim=1)
        torch.testing.assert_close(network(pixels), pooled)


def test_without_pretraining_the_weights_are_random() -> None:
    first, second = (backbones.create("efficientnet_lite0", pretrained=False).conv_stem.weight for _ in range(2))
    assert not torch.equal(first, second)


def test_an_unknown_name_says_which_are_known() -> None:
    for ask in (backbones.get, feature_count, lambda name: EmbeddingNetwork(Architecture(backbone=name), pretrained=True)):
        with pytest.raises(ValueError, match="There is no backbone 'resnet9000'; choose one of: efficientnet_lite0"):
            ask("resnet9000")


def test_weights_of_another_network_are_refused() -> None:
    target = backbones.create("efficientnet_lite0", pretrained=False).state_dict()
    with pytest.raises(ValueError, match="does not fit: conv_stem"):
        backbones._in_order({name: tensor.unsqueeze(0) for name, tensor in target.items()}, target)
