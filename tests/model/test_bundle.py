"""A bundle is whole, or it is refused with a sentence; writing one replaces a bundle or changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from model import transform as transform_rules
from model.bundle import Agreement, Architecture, Bundle, BundleError, Manifest, check_target, fingerprint, load, seal, writing
from model.transform import Transform

TENSORS = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "backbone.bias": np.ones(3, np.float32)}


def write(to: Path, tensors: dict[str, np.ndarray] = TENSORS, **more) -> Bundle:
    architecture, transform = Architecture(dim=2), Transform(size=32)
    mark = fingerprint(tensors, architecture, transform)
    fields = {"name": to.name, "architecture": architecture, "transform": transform, "origin": "a test", "fingerprint": mark}
    with writing(to) as draft:
        save_file(tensors, draft / "weights.safetensors")
        (draft / "openvino").mkdir()
        (draft / "openvino" / "model.bin").write_bytes(b"compiled")
        seal(draft, Manifest(**(fields | more)))
    return load(to)


def change(bundle: Bundle, **fields) -> None:
    manifest = json.loads((bundle.path / "bundle.json").read_text())
    (bundle.path / "bundle.json").write_text(json.dumps(manifest | fields))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Round trip


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    agreement = {"openvino-bf16": Agreement(images=3, median=0.9999, minimum=0.995)}
    made = write(tmp_path / "new" / "one", training={"epochs": 3}, agreement=agreement)
    assert load(made.path) == made
    assert made.manifest.training == {"epochs": 3} and made.manifest.agreement == agreement
    assert made.manifest.created.tzinfo is not None
    assert set(made.manifest.files) == {"weights.safetensors", "openvino/model.bin"}
    assert [path.name for path in made.path.parent.iterdir()] == ["one"]


def test_a_trained_bundle_is_complete(bundle: Bundle) -> None:
    assert bundle.openvino.is_file()
    assert set(bundle.manifest.files) == {
        "weights.safetensors",
        "openvino/model.xml",
        "openvino/model.bin",
        "onnx/model.onnx",
        "metrics.json",
        "history.jsonl",
        "progress.html",
        "report.html",
        "MODEL_CARD.md",
    }
    assert bundle.manifest.origin.startswith("EfficientNet-Lite0")


@pytest.mark.parametrize(("median", "minimum", "holds"), [(0.999, 0.99, True), (0.9989, 1, False), (1, 0.989, False)])
def test_agreement(median: float, minimum: float, holds: bool) -> None:
    assert Agreement(images=9, median=median, minimum=minimum).holds is holds


# Fingerprint


@given(row=st.integers(0, 1), column=st.integers(0, 2), bits=st.integers(0, 2**32 - 1))
def test_the_fingerprint_follows_every_bit_of_the_weights(row: int, column: int, bits: int) -> None:
    changed = {name: tensor.copy() for name, tensor in TENSORS.items()}
    changed["head.weight"].view(np.uint32)[row, column] = bits
    same = changed["head.weight"].tobytes() == TENSORS["head.weight"].tobytes()
    assert (mark(changed) == mark()) is same


def mark(tensors=TENSORS, architecture: Architecture | None = None, transform: Transform | None = None) -> str:
    return fingerprint(tensors, architecture or Architecture(), transform or Transform())


def test_the_fingerprint_follows_all_that_decides_a_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    head, bias = TENSORS["head.weight"], TENSORS["backbone.bias"]
    marks = [
        mark(),
        mark({"head.weight": head.reshape(3, 2), "backbone.bias": bias}),
        mark({"head.weight": head, "backbone.other": bias}),
        mark({"head.weight": head.view(np.int32), "backbone.bias": bias}),
        mark({"head.weight": head}),
        mark(architecture=Architecture(dim=64)),
        mark(architecture=Architecture(head=False)),
        mark(architecture=Architecture(backbone="another")),
        mark(architecture=Architecture(pooling="avg+max")),
        mark(architecture=Architecture(input_size=224)),
        mark(architecture=Architecture(mean=(0.5, 0.5, 0.5))),
        mark(architecture=Architecture(std=(0.5, 0.5, 0.5))),
        mark(transform=Transform(size=96)),
        mark(transform=Transform(fit="crop")),
    ]
    monkeypatch.setattr(transform_rules, "RULES", transform_rules.RULES + 1)
    marks.append(mark())
    assert len(set(marks)) == len(marks)


def test_a_bundle_of_before_keeps_its_fingerprint() -> None:
    """This one was computed by the first version, which knew only four fields of an architecture."""
    assert mark() == "39765645302ac84ef89a0a16b71ae9a8ba128b058fdd88d4d4255f23965d4902"
    assert Architecture.model_validate({"backbone": "efficientnet_lite0", "pooling": "avg", "head": True, "dim": 128}) == (
        Architecture()
    )


def test_the_fingerprint_does_not_follow_names_order_or_layout(tmp_path: Path) -> None:
    assert mark(dict(reversed(TENSORS.items()))) == mark()
    assert mark({name: np.asfortranarray(tensor) for name, tensor in TENSORS.items()}) == mark()
    one = write(tmp_path / "one", origin="here", training={"epochs": 1})
    two = write(tmp_path / "two", origin="there", agreement={"x": Agreement(images=1, median=1, minimum=1)})
    assert one.fingerprint == two.fingerprint


# What cannot be opened


def test_a_folder_without_a_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BundleError, match=r"has no bundle\.json.*lookalike train"):
            load(path)


@pytest.mark.parametrize("name", ["weights.safetensors", "openvino/model.bin"])
@pytest.mark.parametrize("damage", ["missing", "cut", "one bit"])
def test_a_damaged_file_is_named(name: str, damage: str, tmp_path: Path) -> None:
    file = write(tmp_path / "one").path / name
    data = file.read_bytes()
    file.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    if damage == "missing":
        file.unlink()
    with pytest.raises(BundleError, match=f"{name} is missing or was changed"):
        load(tmp_path / "one")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "\0\xff"])
def test_a_broken_manifest(text: str, tmp_path: Path) -> None:
    (write(tmp_path / "one").path / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.json cannot be read"):
        load(tmp_path / "one")


def test_a_newer_format_is_refused_and_says_so(tmp_path: Path) -> None:
    change(write(tmp_path / "one"), format=2)
    with pytest.raises(BundleError, match=r"format.*newer Lookalike"):
        load(tmp_path / "one")


def test_weights_and_manifest_of_two_bundles_do_not_mix(tmp_path: Path) -> None:
    one = write(tmp_path / "one")
    change(one, transform={"size": 64, "fit": "pad"})
    with pytest.raises(BundleError, match="do not belong"):
        load(one.path)
    change(one, files={})
    with pytest.raises(BundleError, match="is missing or was changed"):
        load(one.path)


# Writing


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_bundle_and_nothing_else(error: type[BaseException], tmp_path: Path) -> None:
    old = write(tmp_path / "one")
    before = contents(tmp_path)
    with pytest.raises(error), writing(old.path) as draft:
        (draft / "weights.safetensors").write_bytes(b"half")
        raise error
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert load(old.path) == old


def test_a_new_bundle_replaces_the_old_one_whole(tmp_path: Path) -> None:
    old = write(tmp_path / "one")
    (old.path / "notes.txt").write_text("of the old one")
    new = write(tmp_path / "one", {"head.weight": np.zeros((2, 3), np.float32)})
    assert new.fingerprint != old.fingerprint
    assert not (new.path / "notes.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_a_bundle_is_not_replaced(kind: str, tmp_path: Path) -> None:
    to = tmp_path / "thesis"
    if kind == "folder":
        to.mkdir()
        (to / "chapter.txt").write_text("years of work")
    else:
        to.write_text("years of work")
    before = contents(tmp_path)
    with pytest.raises(BundleError, match="nothing was written"):
        check_target(to)
    with pytest.raises(BundleError, match="nothing was written"):
        write(to)
    assert contents(tmp_path) == before and len(before) == 1


@pytest.mark.parametrize("to", ["here", "new/here", "link", "../inside/here"])
def test_an_empty_folder_is_filled_by_whatever_name(to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside"
    (inside / "here").mkdir(parents=True)
    (inside / "link").symlink_to("here")
    monkeypatch.chdir(inside)
    for _ in "first", "again":
        write(Path(to))
    assert (inside / "link").readlink() == Path("here")
    assert {path.name for path in inside.iterdir()} == {"here", "link", *Path(to).parts[:1]} - {".."}


@pytest.mark.parametrize("to", [".", "..", "/", "here/.."])
def test_a_folder_that_cannot_change_places_is_refused_before_any_work(to: str) -> None:
    with pytest.raises(BundleError, match="Name a folder below it"):
        check_target(Path(to))
