"""Labelled pictures in, a bundle out that tells what it can do; interrupted and resumed, it is the same bundle."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from test_layouts import names_of_cars, part_entries, save_annos, text, whole_entries

import training
from model import confidence, encoder
from model.bundle import Bundle, BundleError
from model.encoder import Encoder
from model.metrics import NAMES
from model.transform import Transform
from training import calibrate, export, plan
from training import train as making
from training.config import TrainingConfig, resolve
from training.datasets import DataError
from training.datasets.check import decode
from training.datasets.labels import Dataset, read
from training.datasets.split import Splitting
from training.evaluate import check, evaluate, measure, saw_tests
from training.run import RunError, Stopped
from training.train import Audience, Options, metrics, train
from training.trainer import TrainingDiverged

SMALL = TrainingConfig(
    backbone="efficientnet_lite0", image_size=48, train_size=32, first_size=None, dim=16, centers=2, batch=16, epochs=2,
    center_start="random", head_start="random", head_epochs=1, views=1, precision="f32", singles="keep",
)  # fmt: skip
STEPS = 4  # an epoch of the drawings; all of them are 6


def lighten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles without compiled forms, run by torch: seconds less for each that nobody else opens."""
    monkeypatch.setattr(export, "export_onnx", lambda *_: None)
    monkeypatch.setattr(export, "export_openvino", lambda *_: None)
    monkeypatch.setattr(export, "agreement", lambda *_: {})
    monkeypatch.setattr(encoder, "_cuda_is_here", lambda: True)
    monkeypatch.setattr(plan, "_STEPS", 3)
    monkeypatch.setattr(plan, "_STEPS_FOR_MINUTES", 3)


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    lighten(monkeypatch)


@pytest.fixture
def shapes(drawings: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return shutil.copytree(drawings, tmp_path / "shapes")


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ask the next training to stop after so many steps."""

    def stop(steps: int) -> None:
        @contextmanager
        def asked() -> Iterator[Callable[[], bool]]:
            def count() -> bool:
                nonlocal left
                left -= 1
                return left == 0

            yield count

        left = steps
        monkeypatch.setattr(making, "asked_to_stop", asked)

    return stop


def changed(**values: Any) -> TrainingConfig:
    return SMALL.model_copy(update=values)


def made(data: Dataset, to: Path, config: TrainingConfig = SMALL, **options: Any) -> Bundle:
    found = train(data, to, config, Options(**options))
    assert found is not None
    return found


def record(bundle: Bundle) -> dict[str, Any]:
    assert bundle.manifest.training is not None
    return bundle.manifest.training


def history(bundle: Bundle) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bundle.path / "history.jsonl").read_text().splitlines()]


# The bundle and its figures


def test_training_beats_the_backbone_on_classes_it_never_saw(bundle: Bundle, dataset: Dataset) -> None:
    assert not set(dataset.split("train").labels) & set(dataset.split("test").labels)
    found = metrics(bundle)
    assert found["recall@1"] > found["backbone"]["recall@1"] + 0.02
    assert found["masked"]["recall@1"] > found["backbone"]["masked"]["recall@1"]
    assert found["map@r"] > found["backbone"]["map@r"]
    gain = found["gains"]["map@r"]
    assert 0 < gain["interval"][0] < gain["mean"] < gain["interval"][1]


def test_metrics_and_record_say_what_was_done(bundle: Bundle, dataset: Dataset) -> None:
    test, part = dataset.split("test"), dataset.split("train")
    for found in (metrics(bundle), metrics(bundle)["backbone"]):
        assert set(found) - {"backbone", "gains"} == {*NAMES, "intervals", "classes", "queries", "distractors", "masked"}
        assert (found["classes"], found["queries"], found["distractors"]) == (len(set(test.labels)), len(test), 0)
        assert found["masked"]["by"] == "family"
        assert 0 < found["map@r"] < found["recall@1"] < found["recall@2"] < found["recall@4"] < found["recall@8"] < 1
        assert found["masked"]["recall@1"] < found["recall@1"]  # drawings by the same hand are the easiest to find
    known = record(bundle)
    assert TrainingConfig.model_validate(known["config"]).image_size == bundle.manifest.transform.size == 96
    assert (known["classes"], known["images"]) == (len(set(part.labels)), len(part))
    assert known["seconds"] > 0 and known["torch"] == torch.__version__
    assert known["splitting"] is None  # labels.csv says it
    assert (known["from"], known["final_fit"], known["processes"]) == (None, False, 1)


def test_measuring_again_gives_the_same_figures(bundle: Bundle, backbone: Bundle, encoder: Encoder, dataset: Dataset) -> None:
    assert backbone.manifest.transform == bundle.manifest.transform
    test, found = dataset.split("test"), metrics(bundle)
    pixels = decode(test, bundle.manifest.transform)[0].pixels
    assert as_json(evaluate(bundle, pixels, test.table, "family").figures) == found
    assert as_json(measure(encoder.encode(pixels), test.table, "family").figures) == found["backbone"]
    alone = as_json(evaluate(bundle, pixels, test.table, beside_backbone=False).figures)
    assert alone == {name: found[name] for name in found if name not in ("masked", "backbone", "gains")}


def test_too_few_classes_to_calibrate_leave_a_bundle_without(bundle: Bundle) -> None:
    assert confidence.load(bundle) is None
    assert "calibration" not in metrics(bundle)


def as_json(figures: dict) -> dict:
    return json.loads(json.dumps(figures))


@pytest.fixture(scope="module")
def whole(drawings: Path, tmp_path_factory) -> Bundle:
    """The drawings, learnt at once."""
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch)
        return made(read(drawings), tmp_path_factory.mktemp("whole") / "shop")


def test_a_bundle_is_calibrated_on_classes_that_are_neither_trained_on_nor_tested(
    light: None, drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "MIN_CLASSES", 4)
    data = read(drawings)
    bundle = made(data, tmp_path / "new")
    found = confidence.load(bundle)
    assert found is not None
    assert found.fitted_on["classes"] == len(set(data.split("validation").labels)) == 4
    assert metrics(bundle)["calibration"]["hits"] > 0


def test_the_bundle_tells_of_its_epochs(whole: Bundle) -> None:
    found = history(whole)
    assert [each["epoch"] for each in found] == [0, 1, 2] and found[-1]["step"] == 2 * STEPS
    assert all(0 < each["validation"]["map@r"] <= 1 for each in found)
    best = max(found, key=lambda each: each["validation"]["map@r"])
    assert record(whole)["epoch"] == best["epoch"]
    page = (whole.path / "progress.html").read_text()
    assert "finished" in page.lower() and 'http-equiv="refresh"' not in page
    assert [each.name for each in whole.path.parent.iterdir()] == ["shop"]  # and the run's folder is gone


def test_the_record_counts_distinct_centres(whole: Bundle) -> None:
    found = record(whole)["centers"]
    assert len(found["distinct"]) == 2 and sum(found["distinct"]) == 10
    assert found["distinct_mean"] == pytest.approx((found["distinct"][0] + 2 * found["distinct"][1]) / 10)


def test_whoever_listens_is_told(light: None, drawings: Path, tmp_path: Path) -> None:
    plans: list[dict[str, Any]] = []
    epochs: list[int] = []
    audience = Audience(plan=plans.append, epochs=lambda records: epochs.append(records[-1]["epoch"]))
    train(read(drawings), tmp_path / "new", SMALL, audience=audience)
    assert epochs == [0, 1, 2]
    [told] = plans
    assert (told["name"], told["classes"], told["images"], told["test_classes"]) == ("new", 10, 60, 4)
    assert (told["epochs"], told["steps"], told["pixels"], told["center_parameters"]) == (2, 2 * STEPS, "in memory", 320)


def test_from_python_it_is_one_call(light: None, drawings: Path, whole: Bundle, tmp_path: Path) -> None:
    found = training.fit(str(drawings), to=str(tmp_path / "new"), preset=str(whole.path))
    assert found is not None and found.fingerprint == whole.fingerprint
    other = training.fit(drawings, to=tmp_path / "other", preset=str(whole.path), epochs=1, start=whole.path)
    assert other is not None and record(other)["config"]["epochs"] == 1
    assert record(other)["from"] == {"name": "shop", "fingerprint": whole.fingerprint, "saw_tests": False}


def test_a_bundle_as_preset_makes_the_same_bundle(light: None, drawings: Path, whole: Bundle, tmp_path: Path) -> None:
    """Also with its pixels in a file, and where the file is somewhere else."""
    found = made(read(drawings), tmp_path / "new", resolve(str(whole.path)), memory=1)
    assert found.fingerprint == whole.fingerprint
    assert resolve(str(found.path)) == SMALL


def test_crops_of_whole_pictures_are_the_same_from_a_file(light: None, drawings: Path, tmp_path: Path) -> None:
    plans: list[dict[str, Any]] = []
    config = changed(epochs=1, augmentation=SMALL.augmentation.model_copy(update={"window": "crop"}))
    found = [
        train(read(drawings), tmp_path / str(memory), config, Options(memory=memory), Audience(plan=plans.append))
        for memory in (1, 10**9)
    ]
    assert found[0].fingerprint == found[1].fingerprint
    assert [told["pixels"] for told in plans] == ["in a file", "in memory"]


# Going on


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    light: None, drawings: Path, whole: Bundle, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    data, to = read(drawings), tmp_path / "shop"
    for resume, steps, stands in ((False, 2, 2), (True, 3, 5)):
        stop_after(steps)
        with pytest.raises(Stopped, match=rf"Stopped after step {stands}, .*The same command with --resume goes on"):
            made(data, to, resume=resume)
    with pytest.raises(RunError, match="holds a training that was interrupted"):
        made(data, to)
    with pytest.raises(RunError, match=r"dim was 16, now 8"):
        made(data, to, changed(dim=8), resume=True)
    stop_after(1_000)
    found = made(data, to, resume=True)
    assert found.fingerprint == whole.fingerprint and metrics(found) == metrics(whole)
    assert [each["validation"] for each in history(found)] == [each["validation"] for each in history(whole)]


def test_changed_pictures_are_told_when_it_goes_on(
    light: None, shapes: Path, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    stop_after(1)
    with pytest.raises(Stopped):
        made(read(shapes), tmp_path / "new")
    Image.new("RGB", (40, 50), "black").save(shapes / "3-1.png")
    with pytest.raises(RunError, match=r"are not those that this training began with\. Bring them back, or remove"):
        made(read(shapes), tmp_path / "new", resume=True)


def test_a_failure_of_measuring_costs_no_training_again(
    light: None, drawings: Path, whole: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DataError("as a test")

    with monkeypatch.context() as patch:
        patch.setattr(making, "evaluate", fail)
        with pytest.raises(DataError, match="as a test"):
            made(read(drawings), tmp_path / "shop")
    assert [each.name for each in tmp_path.iterdir()] == ["shop.run"]
    monkeypatch.setattr("training.trainer.Objective.forward", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(plan, "seconds_a_step", lambda *_: {32: 1.0})
    assert made(read(drawings), tmp_path / "shop", resume=True).fingerprint == whole.fingerprint


def test_what_diverged_is_told_on_its_page(
    light: None, drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "seconds_a_step", lambda *_: {32: 1.0})
    with pytest.raises(TrainingDiverged):
        made(
            read(drawings), tmp_path / "new", changed(learning_rate=1e12, head_learning_rate=1e12, warm_up=0.01, head_epochs=0)
        )
    assert "The loss became" in (tmp_path / "new.run" / "progress.html").read_text()


# The time that is given


def test_minutes_become_epochs_that_stay_when_it_goes_on(
    light: None, drawings: Path, tmp_path: Path, stop_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "seconds_a_step", lambda *_: {32: 10.0})
    stop_after(2)
    with pytest.raises(Stopped):
        made(read(drawings), tmp_path / "new", minutes=4)
    known = json.loads((tmp_path / "new.run" / "run.json").read_text())
    epochs = known["decisions"]["epochs"]
    assert known["epochs"] == 2 and 2 < epochs < 6  # an epoch is 40 s, and validation some more
    monkeypatch.setattr(plan, "seconds_a_step", lambda *_: {32: 1.0})
    stop_after(1_000)
    found = made(read(drawings), tmp_path / "new", minutes=4, resume=True)
    assert record(found)["config"]["epochs"] == epochs == history(found)[-1]["epoch"]


def test_no_time_is_one_epoch(light: None, drawings: Path, tmp_path: Path) -> None:
    found = made(read(drawings), tmp_path / "new", changed(epochs=7), minutes=0.0001)
    assert record(found)["config"]["epochs"] == 1


# Starting from a bundle


def test_it_starts_from_an_earlier_bundle(light: None, drawings: Path, whole: Bundle, tmp_path: Path) -> None:
    """The dimensions are that one's; with nothing to learn it stays as it is."""
    found = made(read(drawings), tmp_path / "new", changed(epochs=0, head_epochs=0, dim=99), start=whole.path)
    assert found.fingerprint == whole.fingerprint
    assert record(found)["from"] == {"name": "shop", "fingerprint": whole.fingerprint, "saw_tests": False}
    assert not record(found)["saw_tests"]
    assert (record(found)["config"]["dim"], found.manifest.architecture.dim) == (16, 16)


def test_it_starts_from_a_bundle_without_a_head(light: None, drawings: Path, tmp_path: Path) -> None:
    start = export.untrained(tmp_path / "backbone", Transform(size=48))
    found = made(read(drawings), tmp_path / "new", changed(epochs=1), start=start.path)
    assert found.manifest.architecture.head and found.manifest.architecture.dim == 16
    assert record(found)["from"] == {"name": "backbone", "fingerprint": start.fingerprint, "saw_tests": False}


def test_a_run_from_another_bundle_is_not_resumed(
    light: None, drawings: Path, whole: Bundle, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    stop_after(1)
    with pytest.raises(Stopped):
        made(read(drawings), tmp_path / "new", start=whole.path)
    with pytest.raises(RunError, match=r"This is not the training that was interrupted: .*from was \{"):
        made(read(drawings), tmp_path / "new", resume=True)


# Classes of one image


@pytest.fixture
def with_singles(shapes: Path) -> Dataset:
    """Three more classes to train on, of one image each."""
    table = (shapes / "labels.csv").read_text()
    for number in range(3):
        Image.effect_noise((60, 60), 20 + 30 * number).convert("RGB").save(shapes / f"single-{number}.png")
        table += f"single-{number}.png,single {number},train,0\n"
    (shapes / "labels.csv").write_text(table)
    return read(shapes)


@pytest.mark.parametrize(("choice", "classes"), [("keep", 13), ("leave", 10)])
def test_classes_of_one_image_are_kept_or_left(
    choice: Any, classes: int, light: None, with_singles: Dataset, tmp_path: Path
) -> None:
    found = made(with_singles, tmp_path / "new", changed(epochs=1, singles=choice))
    assert sum(record(found)["centers"]["distinct"]) == classes


@pytest.mark.parametrize(
    ("figures", "expected"), [({"keep": 0.5, "leave": 0.4}, "keep"), ({"keep": 0.4, "leave": 0.5}, "leave")]
)
def test_the_better_choice_is_taken_and_stays(
    figures: dict[str, float],
    expected: str,
    light: None,
    with_singles: Dataset,
    tmp_path: Path,
    stop_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(making.singles, "compared", lambda *_: figures)
    stop_after(1)
    with pytest.raises(Stopped):
        made(with_singles, tmp_path / "new", changed(epochs=1, singles="auto"))
    monkeypatch.setattr(making.singles, "compared", lambda *_: pytest.fail("decided before"))
    stop_after(1_000)
    found = made(with_singles, tmp_path / "new", changed(epochs=1, singles="auto"), resume=True)
    assert record(found)["config"]["singles"] == expected
    assert sum(record(found)["centers"]["distinct"]) == (13 if expected == "keep" else 10)


def test_where_there_is_nothing_to_choose_nothing_is_tried(
    light: None, drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making.singles, "compared", lambda *_: pytest.fail("tried"))
    assert record(made(read(drawings), tmp_path / "new", changed(epochs=1, singles="auto")))["config"]["singles"] == "keep"


def test_nothing_but_classes_of_one_image_is_a_sentence(light: None, drawings: Path, tmp_path: Path) -> None:
    data = read(drawings)
    labels = [f"{label} {row}" if split == "train" else label for row, (label, split) in enumerate(
        zip(data.labels, data.table["split"], strict=True))]  # fmt: skip
    with pytest.raises(DataError, match=r"every class has one image only\. Learn from them with --set singles=keep"):
        made(replace(data, table=data.table | {"label": labels}), tmp_path / "new", changed(singles="leave"))


# The final fit


@pytest.fixture(scope="module")
def final(drawings: Path, tmp_path_factory) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch)
        return made(read(drawings), tmp_path_factory.mktemp("final") / "shop", final_fit=True)


def test_a_start_that_saw_the_test_classes_is_told(
    light: None, drawings: Path, final: Bundle, whole: Bundle, tmp_path: Path
) -> None:
    """A final fit saw them, and whoever starts from it has them from there; so may have a start by another splitting."""
    config = changed(epochs=0, head_epochs=0)
    second = made(read(drawings), tmp_path / "second", config, start=final.path)
    third = made(read(drawings), tmp_path / "third", config, start=second.path)
    other = made(replace(read(drawings), splitting=Splitting()), tmp_path / "other", config, start=whole.path)
    for bundle in (second, third, other):
        assert record(bundle)["from"]["saw_tests"] and record(bundle)["saw_tests"]
    assert record(final)["saw_tests"] and not record(whole)["saw_tests"]
    assert saw_tests(final.manifest, read(drawings)) and not saw_tests(whole.manifest, read(drawings))
    assert saw_tests(whole.manifest, replace(read(drawings), splitting=Splitting()))


def test_the_final_fit_has_the_figures_of_the_first_run_and_another_network(final: Bundle, whole: Bundle) -> None:
    found = metrics(final)
    run = found.pop("run")
    assert found == metrics(whole)
    assert run == {"trained_on": ["train"], "fingerprint": whole.fingerprint, "epoch": record(whole)["epoch"]}
    assert final.fingerprint != whole.fingerprint
    assert (record(final)["classes"], record(final)["images"], record(final)["final_fit"]) == (18, 108, True)
    assert final.manifest.name == "shop"
    assert [each.name for each in final.path.parent.iterdir()] == ["shop"]


def test_a_final_fit_goes_on_where_it_was_stopped(
    light: None, drawings: Path, final: Bundle, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    """The first run has 8 steps; the other one 7 an epoch, and as many epochs as the first one's best."""
    data, to = read(drawings), tmp_path / "shop"
    if metrics(final)["run"]["epoch"] == 0:
        pytest.fail("the drawings must be such that learning helps, or nothing is tested here")
    for resume, steps in ((False, 8), (True, 3)):
        stop_after(steps)
        with pytest.raises(Stopped):
            made(data, to, final_fit=True, resume=resume)
    assert (to.with_name("shop.run") / "final.checkpoint").exists() and not to.exists()
    stop_after(1_000)
    found = made(data, to, final_fit=True, resume=True)
    assert found.fingerprint == final.fingerprint and metrics(found) == metrics(final)


# Failures


def test_what_cannot_be_measured_is_told(drawings: Path) -> None:
    data = read(drawings)
    single = data.rows([data.labels.index(label) for label in sorted(set(data.labels))[:5]])
    for refuse in (check, lambda table: measure(np.eye(5, dtype=np.float32), table)):
        with pytest.raises(DataError, match="no image to be measured has a second one of its class"):
            refuse(single.table)
    with pytest.raises(DataError, match="of its class with another label"):
        check(data.table, "label")
    with pytest.raises(DataError, match="no column 'artist'"):
        check(data.table, "artist")


def test_a_failure_before_the_training_costs_no_training(
    drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "fit", lambda *_, **__: pytest.fail("trained for nothing"))
    dataset = read(drawings)
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").touch()
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(dataset.paths[0].read_bytes()[:50])
    row = dataset.table["split"].index("test")
    paths = [*dataset.table["path"][:row], str(damaged), *dataset.table["path"][row + 1 :]]
    for data, to, mask, sentence in (
        (dataset.split("train"), tmp_path / "new", None, "no images in the split test"),
        (dataset.split("test"), tmp_path / "new", None, "no images in the split train"),
        (dataset, tmp_path / "new", "artist", "no column 'artist'"),
        (replace(dataset, table=dataset.table | {"path": paths}), tmp_path / "new", None, r"damaged\.png"),
        (dataset, thesis, None, "is not a bundle"),
    ):
        with pytest.raises((DataError, BundleError), match=sentence):
            train(data, to, SMALL, Options(mask=mask))
    assert not (tmp_path / "new").exists() and [each.name for each in thesis.iterdir()] == ["chapter.txt"]


# The published data sets


def noise(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        seed = list(name.encode())
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), np.uint8)
        Image.fromarray(pixels).resize((50, 40)).save(root / name)


def cub(root: Path) -> None:
    classes = {1: "001.Albatross", 2: "002.Auklet", 101: "101.Pelican", 102: "102.Phoebe"}
    numbers = [number for number in classes for _ in range(3)]
    paths = [f"{classes[number]}/{place}.jpg" for place, number in enumerate(numbers)]
    noise(root / "images", *paths)
    text(root / "images.txt", *(f"{image} {path}" for image, path in enumerate(paths, start=1)))
    text(root / "image_class_labels.txt", *(f"{image} {number}" for image, number in enumerate(numbers, start=1)))
    text(root / "classes.txt", *(f"{number} {name}" for number, name in classes.items()))


def cars(root: Path) -> None:
    noise(root / "car_ims", *(f"{place:06}.jpg" for place in range(1, 9)))
    save_annos(root / "cars_annos.mat", whole_entries(1, 1, 98, 98, 99, 99, 196, 196), class_names=names_of_cars())


def devkit(root: Path) -> None:
    noise(root, *(f"cars_{part}/{place:05}.jpg" for part in ("train", "test") for place in range(1, 5)))
    save_annos(root / "devkit" / "cars_train_annos.mat", part_entries(1, 98, 99, 196))
    save_annos(root / "devkit" / "cars_test_annos_withlabels.mat", part_entries(1, 98, 99, 196))
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": names_of_cars()})


def products(root: Path) -> None:
    header = "image_id class_id super_class_id path"
    for part, classes in (("train", (1, 2)), ("test", (11319, 11320))):
        rows = [(number, f"chair_final/{number}_{copy}.jpg") for number in classes for copy in range(2)]
        noise(root, *(path for _, path in rows))
        text(root / f"Ebay_{part}.txt", header, *(f"{image} {number} 1 {path}" for image, (number, path) in enumerate(rows)))


def inshop(root: Path) -> None:
    lines = []
    for number, roles in ((1, "tt"), (2, "tt"), (3, "qg"), (4, "qgg")):
        for copy, role in enumerate(roles):
            status = {"t": "train", "q": "query", "g": "gallery"}[role]
            lines.append(f"img/WOMEN/Tees/id_{number:08}/0{copy}_front.jpg  id_{number:08}  {status}")
    noise(root, *(line.split()[0] for line in lines))
    text(root / "list_eval_partition.txt", str(len(lines)), "image_name item_id evaluation_status", *lines)


@pytest.mark.parametrize(
    ("build", "preset", "centers", "queries"),
    [(cub, "cub", 10, 6), (cars, "cars", 10, 4), (devkit, "cars", 10, 4), (products, "sop", 2, 4), (inshop, "inshop", 2, 2)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_papers_settings_learn_the_published_layouts(
    build: Callable[[Path], None], preset: str, centers: int, queries: int, light: None, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    build(root)
    smaller = {"backbone": "efficientnet_lite0", "image_size": 48, "train_size": 48, "epochs": 2}
    found = made(read(root), tmp_path / "new", resolve(f"paper:{preset}", **smaller))
    figures = metrics(found)
    assert (figures["queries"], figures["distractors"]) == (queries, 0) and 0 <= figures["map@r"] <= 1
    assert (record(found)["classes"], record(found)["epoch"]) == (2, 2)  # without validation classes it is the last epoch
    assert len(record(found)["centers"]["distinct"]) == centers and found.manifest.architecture.dim == 512
    assert [each["validation"] for each in history(found)] == [None, None]
    assert found.manifest.transform == Transform(size=48, fit="crop")
