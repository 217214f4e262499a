"""Runtimes, precisions and threads give the same vectors; what cannot run says why; torch is not needed to serve."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model import encoder as encoders
from model.bundle import Bundle
from model.encoder import Encoder, RuntimeUnavailable, open_encoder
from model.metrics import scores
from model.neighbours import nearest
from training.datasets.check import decode
from training.datasets.labels import Dataset
from training.export import agreement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def slice_images(dataset: Dataset, bundle: Bundle) -> np.ndarray:
    return decode(dataset, bundle.manifest.transform)[0].pixels


@pytest.fixture(scope="module")
def images(slice_images: np.ndarray) -> np.ndarray:
    return slice_images[:: len(slice_images) // 200][:200]


def vectors(bundle: Bundle, images: np.ndarray, runtime: str, precision: str) -> np.ndarray:
    return open_encoder(bundle, runtime, precision).encode(images)


@pytest.fixture(scope="module")
def reference(bundle: Bundle, images: np.ndarray) -> np.ndarray:
    return vectors(bundle, images, "torch", "f32")


@pytest.fixture(scope="module")
def opened(bundle: Bundle) -> Encoder:
    return open_encoder(bundle, "openvino")


# Agreement


def test_openvino_in_float32_agrees_with_torch(opened: Encoder, images: np.ndarray, reference: np.ndarray) -> None:
    found = opened.encode(images)
    assert (found * reference).sum(axis=1).min() >= 0.9999
    assert found.dtype == reference.dtype == np.float32
    assert found.shape == reference.shape == (200, opened.dim)


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_bf16_agrees_with_float32(runtime: str, bundle: Bundle, images, reference) -> None:
    cosines = (vectors(bundle, images, runtime, "bf16") * reference).sum(axis=1)
    assert np.median(cosines) >= 0.999 and cosines.min() >= 0.99


def test_recall_does_not_depend_on_the_runtime(bundle: Bundle, dataset: Dataset, slice_images: np.ndarray) -> None:
    recalls = [
        scores(nearest(vectors(bundle, slice_images, *how), dataset.labels), dataset.labels).means()["recall@1"]
        for how in (("torch", "f32"), ("openvino", "f32"), ("openvino", "bf16"))
    ]
    assert max(recalls) - min(recalls) <= 0.005


def test_the_bundle_states_its_agreement(bundle: Bundle, images: np.ndarray) -> None:
    stated = bundle.manifest.agreement
    assert set(stated) == {"openvino-f32", "openvino-bf16"}
    assert stated["openvino-f32"].holds and stated["openvino-f32"].minimum >= 0.9999
    assert stated["openvino-bf16"].images >= 200
    assert stated["openvino-bf16"].holds
    assert agreement(bundle, images[:20])["openvino-f32"].minimum >= 0.9999


# The protocol


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_vectors_are_unit_rows_in_the_order_of_the_images(runtime: str, precision: str, backbone: Bundle) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 96, 96, 3), np.uint8)
    found = open_encoder(backbone, runtime, precision)
    encoded = found.encode(images)
    assert (found.runtime, found.precision, found.fingerprint) == (runtime, precision, backbone.fingerprint)
    assert found.transform == backbone.manifest.transform
    assert encoded.shape == (7, found.dim) and encoded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(encoded, axis=1), 1, atol=2e-3 if precision == "bf16" else 1e-5)
    for row in (0, 6):
        assert (found.encode(images[row : row + 1])[0] * encoded[row]).sum() > 0.999
    assert (encoded[0] * encoded[6]).sum() < 0.999
    assert found.encode(images[:0]).shape == (0, found.dim)


def test_one_colour_has_a_vector_too(opened: Encoder) -> None:
    blank = np.stack([np.full((opened.transform.size,) * 2 + (3,), value, np.uint8) for value in (0, 255)])
    np.testing.assert_allclose(np.linalg.norm(opened.encode(blank), axis=1), 1, atol=1e-5)


def test_images_need_not_be_contiguous(opened: Encoder, images: np.ndarray) -> None:
    turned = images[:4, ::-1, ::-1]
    np.testing.assert_array_equal(opened.encode(turned), opened.encode(turned.copy()))


def test_many_threads_get_the_vectors_of_one(opened: Encoder, images: np.ndarray) -> None:
    expected = opened.encode(images)
    slices = [slice(start, start + 1 + start % 9) for start in range(0, 190, 3)]
    with ThreadPoolExecutor(16) as pool:
        for rows, found in zip(slices, pool.map(lambda rows: opened.encode(images[rows]), slices), strict=True):
            np.testing.assert_array_equal(found, expected[rows])


def test_a_failed_call_costs_no_request(opened: Encoder, images: np.ndarray) -> None:
    idle = opened._idle.qsize()
    with pytest.raises(Exception, match=r"(?i)shape"):
        opened.encode(images[:9, :50])
    assert opened._idle.qsize() == idle
    assert len(opened.encode(images[:9])) == 9


# What cannot run


def test_no_openvino_form(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"has no OpenVINO form\. Use --runtime torch"):
        open_encoder(replace(bundle, path=tmp_path), "openvino")


def test_no_torch(backbone: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailable, match=r'pip install "lookalike\[train\]", or use --runtime openvino'):
        open_encoder(backbone, "torch")
    assert open_encoder(backbone).runtime == "openvino"


WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(("torch", "timm", "torchvision")))  # importing any of them fails

import numpy as np
import lookalike.cli, index.job, index.search.searcher, model.metrics, service.app
from pathlib import Path
from model.bundle import load
from model.encoder import RuntimeUnavailable, open_encoder

bundle = load(Path(sys.argv[1]))
for runtime in ("auto", "openvino"):
    opened = open_encoder(bundle, runtime)
    vector = opened.encode(np.zeros((1, 96, 96, 3), np.uint8))
    assert opened.runtime == "openvino" and abs(np.linalg.norm(vector) - 1) < 1e-5
try:
    open_encoder(bundle, "torch")
except RuntimeUnavailable:
    print("served without torch")
"""


def test_serving_needs_no_torch(backbone: Bundle) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(backbone.path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stdout == "served without torch\n", done.stderr
