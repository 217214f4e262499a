"""Any of timm's networks becomes an embedding network, from a file of weights; what does not fit is a sentence."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from model.backbones import BackboneError
from model.bundle import Architecture
from model.network import EmbeddingNetwork, architecture, feature_count

VIT, REGISTERS = "vit_tiny_patch16_224", "vit_base_patch16_reg4_gap_256"


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def build(name: str, pooling: str = "avg", size: int = 64) -> EmbeddingNetwork:
    torch.manual_seed(0)
    return EmbeddingNetwork(architecture(name, dim=8, pooling=pooling, image_size=size), pretrained=False).eval()


def maps(network: EmbeddingNetwork, images: torch.Tensor) -> torch.Tensor:
    return network.backbone.forward_features((images - network.mean) / network.std)


# Pooling


@torch.inference_mode()
def test_maps_are_pooled_over_their_cells(images: torch.Tensor) -> None:
    average, both = build("resnet18"), build("resnet18", "avg+max")
    found = maps(average, images)
    assert found.shape == (2, 512, 2, 2)
    torch.testing.assert_close(average.features(images), found.mean((2, 3)))
    torch.testing.assert_close(both.features(images), found.mean((2, 3)) + found.amax((2, 3)))


@torch.inference_mode()
def test_maps_with_channels_last_are_pooled_over_their_cells(images: torch.Tensor) -> None:
    network = build("swin_tiny_patch4_window7_224", "avg+max")
    found = maps(network, images)
    assert found.shape == (2, 2, 2, 768)
    torch.testing.assert_close(network.features(images), found.mean((1, 2)) + found.amax((1, 2)))


@torch.inference_mode()
def test_tokens_are_pooled_without_the_class_token(images: torch.Tensor) -> None:
    average, both, token = build(VIT), build(VIT, "avg+max"), build(VIT, "cls")
    found = maps(average, images)
    assert found.shape == (2, 1 + 16, 192)
    patches = found[:, 1:]
    torch.testing.assert_close(average.features(images), patches.mean(1))
    torch.testing.assert_close(both.features(images), patches.mean(1) + patches.amax(1))
    torch.testing.assert_close(token.features(images), found[:, 0])


@torch.inference_mode()
def test_a_norm_after_pooling_stays_there(images: torch.Tensor) -> None:
    network = build("convnext_atto")
    pooled = maps(network, images).mean((2, 3))
    norm = network.backbone.head.norm
    norm.weight.uniform_(0.5, 2)
    expected = torch.nn.functional.layer_norm(pooled, (320,), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(network.features(images), expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_rows_have_length_one_and_follow_the_pixels(images: torch.Tensor) -> None:
    network = build("mobilenetv3_small_100")
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    vectors = network(pixels)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(vectors, network.embed(pixels.permute(0, 3, 1, 2) / 255))
    features = network.features(pixels.permute(0, 3, 1, 2) / 255)
    torch.testing.assert_close(vectors, torch.nn.functional.normalize(network.head(features), dim=1))


# Architecture


def test_an_architecture_says_all_that_rebuilds_it() -> None:
    found = architecture(VIT, dim=None, image_size=64)
    assert (found.head, found.dim, found.input_size, found.mean, found.std) == (False, 192, 64, (0.5,) * 3, (0.5,) * 3)
    assert architecture("resnet18", dim=7, image_size=64).input_size is None
    assert architecture("efficientnet_lite0", dim=128, image_size=112) == Architecture()


def test_pixels_are_normalised_as_the_bundle_says(images: torch.Tensor) -> None:
    made = architecture("resnet18", dim=8, image_size=64)
    one = EmbeddingNetwork(made, pretrained=False).eval()
    other = EmbeddingNetwork(made.model_copy(update={"mean": (0, 0, 0), "std": (1, 1, 1)}), pretrained=False).eval()
    other.load_state_dict(one.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(other.features((images - one.mean) / one.std), one.features(images))


@pytest.mark.parametrize(("name", "features"), [("mobilenetv3_small_100", 1024), ("convnext_atto", 320), (VIT, 192)])
def test_feature_count(name: str, features: int) -> None:
    assert feature_count(name) == features


def test_no_state_beside_the_backbone_and_the_head() -> None:
    names = EmbeddingNetwork(Architecture(), pretrained=False).state_dict().keys()
    assert {name.partition(".")[0] for name in names} == {"backbone", "head"}
    assert [name for name in names if name.startswith("head")] == ["head.weight"]


@pytest.mark.parametrize(
    ("name", "pooling", "size", "sentence"),
    [
        ("resnet18", "cls", 64, "resnet18 has no class token. Use pooling avg"),
        (REGISTERS, "cls", 64, "has no class token"),
        (VIT, "avg", 8, "8 is no multiple of 16. Choose 16"),
        (VIT, "avg", 72, "patches of 16 pixels, and 72 is no multiple of 16. Choose 64 or 80"),
        ("crossvit_9_240", "avg", 240, "gives no features"),
        ("deit_tiny_distilled_patch16_224", "avg", 224, "gives no features"),
        ("mobilenetv5_300m_enc", "avg", 256, "not made to classify"),
        ("resnet19", "avg", 64, "There is no backbone 'resnet19'. Choose one of: .*resnet18"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(name: str, pooling: str, size: int, sentence: str) -> None:
    with pytest.raises(BackboneError, match=sentence):
        architecture(name, dim=8, pooling=pooling, image_size=size)


def test_images_of_another_size_are_refused_by_a_network_of_a_fixed_size(images: torch.Tensor) -> None:
    with pytest.raises(BackboneError, match="built for images of 32 pixels and got 64"):
        build(VIT, size=32).embed(images)


# Weights from a file


def file_of(name: str, to: Path, **more) -> tuple[Path, dict[str, torch.Tensor]]:
    state = timm.create_model(name, **more).state_dict()
    torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}, "epoch": 3}, to)
    return to, state


def load(name: str, weights: Path, size: int = 64) -> dict[str, torch.Tensor]:
    made = architecture(name, dim=8, image_size=size)
    return EmbeddingNetwork(made, pretrained=True, weights=str(weights)).backbone.state_dict()


def test_a_classifier_of_other_classes_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    path, state = file_of("resnet18", tmp_path / "w.pth", num_classes=17)
    loaded = load("resnet18", path)
    assert loaded.keys() == {key for key in state if not key.startswith("fc.")}
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.items())


def test_positions_of_another_size_are_resampled(tmp_path: Path) -> None:
    path, state = file_of(VIT, tmp_path / "w.bin")
    loaded = load(VIT, path)
    assert state["pos_embed"].shape == (1, 197, 192) and loaded["pos_embed"].shape == (1, 17, 192)
    torch.testing.assert_close(loaded["pos_embed"][:, 0], state["pos_embed"][:, 0])
    assert torch.equal(loaded["blocks.3.mlp.fc1.weight"], state["blocks.3.mlp.fc1.weight"])


def test_original_checkpoints_of_dino(tmp_path: Path) -> None:
    state = timm.create_model(VIT, num_classes=0).state_dict()
    head = {"head.mlp.0.weight": torch.ones(2, 2), "head.last_layer.weight_g": torch.ones(2)}
    names = {f"module.backbone.{key}": tensor for key, tensor in state.items()} | {f"module.{k}": t for k, t in head.items()}
    student = {key: torch.zeros_like(tensor) for key, tensor in names.items()}
    torch.save({"student": student, "teacher": names, "epoch": 99}, tmp_path / "dino.pth")
    assert torch.equal(load(VIT, tmp_path / "dino.pth")["norm.weight"], state["norm.weight"])
    loaded = load(VIT, tmp_path / "dino.pth", size=224)
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.items())


def test_original_checkpoints_of_dinov2(tmp_path: Path) -> None:
    name = "vit_small_patch14_dinov2"
    state = timm.create_model(name, img_size=56).state_dict()
    save_file(state | {"mask_token": torch.zeros(1, 384)}, tmp_path / "dinov2.safetensors")
    loaded = load(name, tmp_path / "dinov2.safetensors", size=56)
    assert loaded.keys() == state.keys()
    assert torch.equal(loaded["blocks.0.ls1.gamma"], state["blocks.0.ls1.gamma"])


@pytest.mark.parametrize(
    ("file", "network", "sentence"),
    [
        ("resnet34", "resnet18", r"the network has no place for layer1\.2"),
        ("resnet18", "resnet34", r"it lacks layer1\.2"),
        ("regnetx_002", "resnet18", r"does not fit the backbone: it lacks conv1\.weight"),
        ("vit_tiny_patch16_224", "vit_small_patch16_224", r"of another size is cls_token"),
        ("resnet18", VIT, r"does not fit"),
    ],
)
def test_weights_of_another_network_are_refused(file: str, network: str, sentence: str, tmp_path: Path) -> None:
    path, _ = file_of(file, tmp_path / "w.pth")
    with pytest.raises(BackboneError, match=rf"w\.pth.*{sentence}"):
        load(network, path)


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"There is no file of weights .*nothing\.pth"):
        load("resnet18", tmp_path / "nothing.pth")
    for name, write in {
        "text.pth": lambda path: path.write_text("no weights"),
        "text.safetensors": lambda path: path.write_text("no weights"),
        "code.pth": lambda path: torch.save(torch.nn.Linear(1, 1), path),
        "tensor.pt": lambda path: torch.save(torch.ones(3), path),
    }.items():
        write(tmp_path / name)
        with pytest.raises(BackboneError, match=rf"{name} cannot be read as weights"):
            load("resnet18", tmp_path / name)
