"""The published layouts, as miniatures: their protocol's splits, where they may lie, and a sentence for every damage."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from training.datasets import DataError, layouts
from training.datasets.tables import Table


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(root / name)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def table(root: Path) -> Table:
    found = layouts.read(root)
    assert found is not None
    assert "box" not in found.columns
    assert all(len(values) == len(found.numbers) for values in found.columns.values())
    assert all((root / path).is_file() for path in found.columns["path"])
    return found


def rows(root: Path, *columns: str) -> list[tuple[str, ...]]:
    found = table(root)
    assert found.problems == []
    return list(zip(*(found.columns[name] for name in columns), strict=True))


def problems(root: Path) -> list[str]:
    return [str(problem) for problem in table(root).problems]


def complaint(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        layouts.read(root)
    sentence = str(caught.value)
    assert sentence.endswith(".") or 'pip install "lookalike[train]"' in sentence
    return sentence


def change(path: Path, before: str, after: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert before in content
    path.write_text(content.replace(before, after, 1), encoding="utf-8")


# CUB-200-2011

BIRDS = {1: "001.Black_footed_Albatross", 100: "100.Brown_Pelican", 101: "101.White_Pelican", 200: "200.Common_Yellowthroat"}


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """Images 1, 2, … in the order of the classes."""
    root = tmp_path / "CUB_200_2011"
    paths = [f"{name}/{name[4:]}_{number:04}.jpg" for number, name in BIRDS.items()]
    pictures(root / "images", *paths)
    text(root / "images.txt", *(f"{image} {path}" for image, path in enumerate(paths, start=1)))
    text(root / "image_class_labels.txt", *(f"{image} {number}" for image, number in enumerate(BIRDS, start=1)))
    text(root / "classes.txt", *(f"{number} {name}" for number, name in BIRDS.items()))
    text(root / "train_test_split.txt", *(f"{image} {image % 2}" for image in range(1, 5)))
    text(root / "bounding_boxes.txt", *(f"{image} 0.0 1.0 5.0 {image}.5" for image in range(1, 5)))
    return root


def test_cub_trains_on_the_first_hundred_classes(cub: Path) -> None:
    assert rows(cub, "label", "split", "class_id") == [
        ("001.Black_footed_Albatross", "train", "1"),
        ("100.Brown_Pelican", "train", "100"),
        ("101.White_Pelican", "test", "101"),
        ("200.Common_Yellowthroat", "test", "200"),
    ]
    assert table(cub).columns["path"][0] == "images/001.Black_footed_Albatross/Black_footed_Albatross_0001.jpg"
    assert list(table(cub).numbers) == [1, 2, 3, 4]


def test_cub_boxes_become_corners(cub: Path) -> None:
    assert table(cub).columns["bounding_box"] == ["0,1,5,2.5", "0,1,5,3.5", "0,1,5,4.5", "0,1,5,5.5"]
    (cub / "bounding_boxes.txt").unlink()
    assert "bounding_box" not in table(cub).columns


def test_cub_by_its_parent(cub: Path) -> None:
    assert [f"CUB_200_2011/{path}" for path in table(cub).columns["path"]] == table(cub.parent).columns["path"]


@pytest.mark.parametrize("name", ["images.txt", "image_class_labels.txt", "classes.txt"])
def test_cub_without_one_of_its_files(cub: Path, name: str) -> None:
    (cub / name).unlink()
    assert f"{cub / name} is missing" in complaint(cub)


def test_cub_without_its_pictures(cub: Path) -> None:
    (cub / "images").rename(cub / "elsewhere")
    assert f"lists 4 images, such as {next(iter(BIRDS.values()))}" in complaint(cub)
    assert f"none is in {cub / 'images'}. Unpack them there." in complaint(cub)


@pytest.mark.parametrize(
    ("name", "before", "after", "expected"),
    [
        ("images.txt", "\n3 101.White_Pelican/White_Pelican_0101.jpg", "\n3", "row 3: it has 1 of the 2 values image_id, path"),
        ("images.txt", "\n3 ", "\n\n7 ", "row 4: image 7 is not in image_class_labels.txt"),
        ("image_class_labels.txt", "3 101", "3 300", "row 3: class 300 is not in classes.txt"),
        ("image_class_labels.txt", "3 101", "9 101", "row 3: image 3 is not in image_class_labels.txt"),
        ("classes.txt", "101 101", "102 101", "row 3: class 101 is not in classes.txt"),
        ("bounding_boxes.txt", "3 0.0", "3 left", "row 3: its bounding box left 1.0 5.0 3.5 is not made of numbers"),
        ("bounding_boxes.txt", "3 0.0 1.0 5.0", "3 0.0 1.0 0.0", "row 3: its bounding box 0,1,0,4.5 is empty"),
        ("bounding_boxes.txt", "3 0.0 1.0 5.0", "3 0.0 1.0 inf", "row 3: its bounding box 0,1,inf,4.5 is empty"),
    ],
)
def test_cub_rows_that_cannot_be_read(cub: Path, name: str, before: str, after: str, expected: str) -> None:
    change(cub / name, before, after)
    assert problems(cub) == [f"{expected} (images.txt)"]
    assert table(cub).columns["class_id"] == ["1", "100", "200"]


def test_cub_class_that_is_no_number(cub: Path) -> None:
    change(cub / "image_class_labels.txt", "3 101", "3 x")
    change(cub / "classes.txt", "101 101", "x 101")
    assert problems(cub) == ["row 3: its class x is not a whole number (images.txt)"]


@pytest.mark.parametrize(
    ("name", "before", "after", "expected"),
    [
        ("image_class_labels.txt", "3 101\n", "", "is about 3 images, images.txt about 4: one of them is cut off"),
        ("images.txt", "1 001", "1 001.x/y.jpg\n1 001", "is about 4 images, images.txt about 5: one of them is cut off"),
        ("bounding_boxes.txt", "4 0.0 1.0 5.0 4.5\n", "", "is about 3 images, images.txt about 4: one of them is cut off"),
        ("image_class_labels.txt", "3 101", "3", "damaged in line 3: it has 1 of the 2 values image_id, class_id"),
        ("image_class_labels.txt", "3 101", "2 101", "damaged in line 3: it has the image_id 2 twice"),
        ("classes.txt", "101 101.White_Pelican", "101", "damaged in line 3: it has 1 of the 2 values class_id, class_name"),
        ("bounding_boxes.txt", "3 0.0 1.0", "3 0.0", "damaged in line 3: it has 4 of the 5 values"),
    ],
)
def test_cub_files_that_are_damaged(cub: Path, name: str, before: str, after: str, expected: str) -> None:
    change(cub / name, before, after)
    assert expected in complaint(cub)


def test_a_file_that_is_no_text(cub: Path) -> None:
    (cub / "classes.txt").write_bytes(b"1 \xff\n")
    assert "classes.txt is damaged ('utf-8' codec" in complaint(cub)


def test_a_list_without_a_line(cub: Path) -> None:
    for name in ("images.txt", "image_class_labels.txt", "bounding_boxes.txt"):
        text(cub / name)
    assert f"{cub / 'images.txt'} lists no image" in complaint(cub)


def test_cub_where_no_row_can_be_read(cub: Path) -> None:
    text(cub / "images.txt", "1", "2", "3", "4")
    assert len(problems(cub)) == 4
    assert table(cub).columns["path"] == []


def test_birds_in_the_same_layout_that_are_not_cub(cub: Path) -> None:
    text(cub / "classes.txt", *(f"{number} bird" for number in range(555)))
    assert "lists 555 classes, CUB-200-2011 has 200" in complaint(cub)


# Cars-196

CARS = ["Acura Integra Type R 2001"] + [f"Car {number}" for number in range(2, 196)] + ["smart fortwo Convertible 2012"]
BOX = {"bbox_x1": 1, "bbox_y1": 2, "bbox_x2": 8, "bbox_y2": 6}  # as MATLAB counts


def struct(entries: Sequence[dict[str, Any]]) -> np.ndarray:
    """1 × N, and like MATLAB's own every field of every entry is a matrix."""
    found = np.zeros((1, len(entries)), dtype=[(name, object) for name in entries[0]])
    for place, entry in enumerate(entries):
        for name, value in entry.items():
            found[0, place][name] = np.array([[value]], np.uint16 if value > 255 else np.uint8) if type(value) is int else value
    return found


def names_of_cars() -> np.ndarray:
    cells = np.empty((1, len(CARS)), dtype=object)
    cells[0, :] = CARS
    return cells


def save_annos(path: Path, entries: Sequence[dict[str, Any]], **others: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"annotations": struct(entries), **others})


def whole_entries(*classes: Any) -> list[dict[str, Any]]:
    """The published flag ``test`` alternates, and must not matter."""
    return [
        {"relative_im_path": f"car_ims/{place:06}.jpg", **BOX, "class": number, "test": place % 2}
        for place, number in enumerate(classes, start=1)
    ]


def part_entries(*classes: Any) -> list[dict[str, Any]]:
    return [{**BOX, "class": number, "fname": f"{place:05}.jpg"} for place, number in enumerate(classes, start=1)]


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    pictures(tmp_path / "car_ims", *(f"{place:06}.jpg" for place in range(1, 5)))
    save_annos(tmp_path / "cars_annos.mat", whole_entries(1, 98, 99, 196), class_names=names_of_cars())
    return tmp_path


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    root = tmp_path / "stanford_cars"
    pictures(root, *(f"cars_{part}/{place:05}.jpg" for part in ("train", "test") for place in (1, 2)))
    save_annos(root / "devkit" / "cars_train_annos.mat", part_entries(98, 196))
    save_annos(root / "devkit" / "cars_test_annos_withlabels.mat", part_entries(1, 99))
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": names_of_cars()})
    return root


def test_cars_train_on_the_first_98_classes(cars: Path) -> None:
    assert rows(cars, "path", "label", "split", "class_id", "bounding_box") == [
        ("car_ims/000001.jpg", "Acura Integra Type R 2001", "train", "1", "0,1,8,6"),
        ("car_ims/000002.jpg", "Car 98", "train", "98", "0,1,8,6"),
        ("car_ims/000003.jpg", "Car 99", "test", "99", "0,1,8,6"),
        ("car_ims/000004.jpg", "smart fortwo Convertible 2012", "test", "196", "0,1,8,6"),
    ]
    assert list(table(cars).numbers) == [1, 2, 3, 4]
    assert {type(value) for values in table(cars).columns.values() for value in values} == {str}


def test_cars_from_the_devkit_are_split_by_class_too(devkit: Path) -> None:
    assert rows(devkit, "path", "label", "split", "bounding_box") == [
        ("cars_train/00001.jpg", "Car 98", "train", "0,1,8,6"),
        ("cars_train/00002.jpg", "smart fortwo Convertible 2012", "test", "0,1,8,6"),
        ("cars_test/00001.jpg", "Acura Integra Type R 2001", "train", "0,1,8,6"),
        ("cars_test/00002.jpg", "Car 99", "test", "0,1,8,6"),
    ]
    assert list(table(devkit).numbers) == [1, 2, 1, 2]
    assert table(devkit.parent).columns["path"][0] == "stanford_cars/cars_train/00001.jpg"


def test_the_labels_of_the_test_cars_may_lie_beside_the_devkit(devkit: Path) -> None:
    inside = table(devkit)
    name = "cars_test_annos_withlabels.mat"
    (devkit / "devkit" / name).rename(devkit / name)
    assert table(devkit) == inside


def test_both_annotations_are_there(cars: Path, devkit: Path) -> None:
    """Whichever has its pictures is meant."""
    (cars / "cars_annos.mat").rename(devkit / "cars_annos.mat")
    assert table(devkit).columns["path"][0] == "cars_train/00001.jpg"
    (cars / "car_ims").rename(devkit / "car_ims")
    assert table(devkit).columns["path"][0] == "car_ims/000001.jpg"


def test_a_single_car(cars: Path) -> None:
    save_annos(cars / "cars_annos.mat", whole_entries(1), class_names=np.array([["only"]], dtype=object))
    assert rows(cars, "label", "split") == [("only", "train")]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("class", 197, "class 197 is none of the 196 that have a name"),
        ("class", 0, "class 0 is none of the 196 that have a name"),
        ("class", "one", "its class one is not a whole number"),
        ("class", np.zeros((0, 0)), "its class [] is not a whole number"),
        ("relative_im_path", np.zeros((0, 0)), "it names no picture"),
        ("bbox_x2", 0, "its bounding box 0,1,0,6 is empty"),
        ("bbox_y1", np.zeros((0, 0)), "its bbox_y1 [] is not a whole number"),
    ],
)
def test_cars_that_cannot_be_read(cars: Path, field: str, value: Any, expected: str) -> None:
    entries = whole_entries(1, 98, 99, 196)
    entries[1][field] = value
    save_annos(cars / "cars_annos.mat", entries, class_names=names_of_cars())
    assert problems(cars) == [f"row 2: {expected} (cars_annos.mat)"]
    assert table(cars).columns["class_id"] == ["1", "99", "196"]
    assert list(table(cars).numbers) == [1, 3, 4]


def test_cars_of_the_devkit_that_cannot_be_read_name_their_file(devkit: Path) -> None:
    save_annos(devkit / "devkit" / "cars_train_annos.mat", part_entries(98, 300))
    save_annos(devkit / "devkit" / "cars_test_annos_withlabels.mat", part_entries(1, 301))
    assert problems(devkit) == [
        "row 2: class 300 is none of the 196 that have a name (cars_train_annos.mat)",
        "row 2: class 301 is none of the 196 that have a name (cars_test_annos_withlabels.mat)",
    ]


@pytest.mark.parametrize("name", ["cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_meta.mat"])
def test_cars_without_one_of_their_files(devkit: Path, name: str) -> None:
    (devkit / "devkit" / name).unlink()
    assert f"{devkit / 'devkit' / name} is missing" in complaint(devkit)


def test_cars_without_their_pictures(cars: Path) -> None:
    (cars / "car_ims").rename(cars / "elsewhere")
    assert "lists 4 images, such as car_ims/000001.jpg, and none is in" in complaint(cars)


@pytest.mark.parametrize("part", ["cars_train", "cars_test"])
def test_cars_of_the_devkit_without_their_pictures(devkit: Path, part: str) -> None:
    (devkit / part).rename(devkit / "elsewhere")
    assert f"lists 2 images, such as 00001.jpg, and none is in {devkit / part}. Unpack them there." in complaint(devkit)


def test_the_test_cars_without_labels_under_the_name_of_those_with_labels(devkit: Path) -> None:
    entries = part_entries(1, 99)
    for entry in entries:
        del entry["class"]
    save_annos(devkit / "devkit" / "cars_test_annos_withlabels.mat", entries)
    assert "its annotations have no class." in complaint(devkit)


@pytest.mark.parametrize("kept", ["annotations", "class_names"])
def test_cars_annos_without_one_of_its_variables(cars: Path, kept: str) -> None:
    variables = {"annotations": struct(whole_entries(1)), "class_names": names_of_cars()}
    savemat(cars / "cars_annos.mat", {kept: variables.pop(kept)})
    [lacking] = variables
    assert f"it has no {lacking}." in complaint(cars)


def test_annotations_that_are_no_struct(cars: Path) -> None:
    savemat(cars / "cars_annos.mat", {"annotations": np.arange(4), "class_names": names_of_cars()})
    assert "its annotations have no relative_im_path, class, bbox_x1" in complaint(cars)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>" * 20, None])
def test_a_mat_file_that_is_damaged(cars: Path, content: bytes | None) -> None:
    path = cars / "cars_annos.mat"
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    assert f"{path} is damaged" in complaint(cars)


def test_cars_without_scipy(cars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert 'needs scipy. Say: pip install "lookalike[train]"' in complaint(cars)


# Stanford Online Products


@pytest.fixture
def products(tmp_path: Path) -> Path:
    root = tmp_path / "Stanford_Online_Products"
    pictures(root, "bicycle_final/1_0.jpg", "bicycle_final/1_1.jpg", "chair_final/2_0.jpg", "chair_final/2_1.jpg")
    header = "image_id class_id super_class_id path"
    text(root / "Ebay_train.txt", header, "1 1 1 bicycle_final/1_0.jpg", "2 1 1 bicycle_final/1_1.jpg")
    text(root / "Ebay_test.txt", header, "3 11319 3 chair_final/2_0.jpg", "4 11319 3 chair_final/2_1.jpg")
    return root


def test_products_are_split_by_their_files(products: Path) -> None:
    assert rows(products, "path", "label", "split", "super_class") == [
        ("bicycle_final/1_0.jpg", "1", "train", "1"),
        ("bicycle_final/1_1.jpg", "1", "train", "1"),
        ("chair_final/2_0.jpg", "11319", "test", "3"),
        ("chair_final/2_1.jpg", "11319", "test", "3"),
    ]
    assert list(table(products).numbers) == [2, 3, 2, 3]


def test_products_by_their_parent(products: Path) -> None:
    assert table(products.parent).columns["path"][3] == "Stanford_Online_Products/chair_final/2_1.jpg"


@pytest.mark.parametrize("name", ["Ebay_train.txt", "Ebay_test.txt"])
def test_products_without_one_of_their_files(products: Path, name: str) -> None:
    (products / name).unlink()
    assert f"{products / name} is missing" in complaint(products)


def test_products_that_cannot_be_read_name_their_file(products: Path) -> None:
    change(products / "Ebay_train.txt", "1 1 1 bicycle", "1 1 bicycle")
    change(products / "Ebay_test.txt", "4 11319 3 chair_final/2_1.jpg", "4 11319")
    names = "image_id, class_id, super_class_id, path"
    assert problems(products) == [
        f"row 2: it has 3 of the 4 values {names} (Ebay_train.txt)",
        f"row 3: it has 2 of the 4 values {names} (Ebay_test.txt)",
    ]
    assert table(products).columns["path"] == ["bicycle_final/1_1.jpg", "chair_final/2_0.jpg"]


def test_products_with_another_header(products: Path) -> None:
    change(products / "Ebay_test.txt", "super_class_id ", "")
    assert "Ebay_test.txt is damaged: line 1 should be 'image_id class_id super_class_id path'" in complaint(products)
    text(products / "Ebay_test.txt")
    assert "Ebay_test.txt is damaged: line 1 should be" in complaint(products)


def test_products_that_end_after_the_header(products: Path) -> None:
    text(products / "Ebay_test.txt", "image_id class_id super_class_id path")
    assert "Ebay_test.txt lists no image" in complaint(products)


def test_products_without_their_pictures(products: Path) -> None:
    (products / "chair_final").rename(products / "elsewhere")
    assert f"lists 2 images, such as chair_final/2_0.jpg, and none is in {products}" in complaint(products)


# In-Shop

CLOTHES = {
    "img/WOMEN/Dresses/id_00000002/02_1_front.jpg": "id_00000002  train",
    "img/WOMEN/Dresses/id_00000002/02_2_side.png": "id_00000002  train",
    "img/MEN/Denim/id_00000001/01_1_front.jpg": "id_00000001  query",
    "img/MEN/Denim/id_00000001/01_2_side.jpg": "id_00000001  gallery",
}


def partition(path: Path) -> Path:
    text(path, "4", "image_name item_id evaluation_status", *(f"{name:70} {values}" for name, values in CLOTHES.items()))
    return path


@pytest.fixture
def inshop(tmp_path: Path) -> Path:
    pictures(tmp_path, *CLOTHES)
    partition(tmp_path / "Eval" / "list_eval_partition.txt")
    return tmp_path


@pytest.mark.parametrize("folder", ["", "Eval", "Anno", "eval"])
@pytest.mark.parametrize("above", ["", "Img/"])
def test_inshop_wherever_its_parts_were_unpacked(tmp_path: Path, folder: str, above: str) -> None:
    pictures(tmp_path, *(above + name for name in CLOTHES))
    partition(tmp_path / folder / "list_eval_partition.txt")
    assert rows(tmp_path, "path", "label", "split", "role") == [
        (above + "img/WOMEN/Dresses/id_00000002/02_1_front.jpg", "id_00000002", "train", ""),
        (above + "img/WOMEN/Dresses/id_00000002/02_2_side.png", "id_00000002", "train", ""),
        (above + "img/MEN/Denim/id_00000001/01_1_front.jpg", "id_00000001", "test", "query"),
        (above + "img/MEN/Denim/id_00000001/01_2_side.jpg", "id_00000001", "test", "gallery"),
    ]
    assert list(table(tmp_path).numbers) == [3, 4, 5, 6]


def test_inshop_without_its_pictures(inshop: Path) -> None:
    (inshop / "img").rename(inshop / "elsewhere")
    assert f"none is in {inshop} or {inshop / 'Img'}. Unpack them there." in complaint(inshop)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("  query", "", "it has 2 of the 3 values image_name, item_id, evaluation_status"),
        ("  query", "  val", "its status val is none of train, query, gallery"),
        ("  query", "  query again", "its status query again is none of train, query, gallery"),
    ],
)
def test_clothes_that_cannot_be_read(inshop: Path, before: str, after: str, expected: str) -> None:
    change(inshop / "Eval" / "list_eval_partition.txt", before, after)
    assert problems(inshop) == [f"row 5: {expected} (list_eval_partition.txt)"]
    assert table(inshop).columns["role"] == ["", "", "gallery"]


@pytest.mark.parametrize("count", ["5", "3", "four"])
def test_inshop_whose_count_does_not_match(inshop: Path, count: str) -> None:
    change(inshop / "Eval" / "list_eval_partition.txt", "4\n", f"{count}\n")
    assert f"announces {count} images in its first line and lists 4." in complaint(inshop)


@pytest.mark.parametrize("before", ["image_name item_id evaluation_status\n", "4\n", "image_name "])
def test_inshop_whose_start_is_damaged(inshop: Path, before: str) -> None:
    change(inshop / "Eval" / "list_eval_partition.txt", before, "")
    assert "should be 'image_name item_id evaluation_status'" in complaint(inshop)


@pytest.mark.parametrize(
    "lines",
    [
        ["000001.jpg 0", "000002.jpg 2"],
        ["2", "image_name  evaluation_status", "img/Sheer_Blouse/img_00000001.jpg train"],
        ["1", "image_pair_name_1 image_pair_name_2 item_id evaluation_status", "img/a.jpg img/b.jpg id_00000001 train"],
        [],
    ],
)
def test_other_sets_with_a_file_of_the_same_name(tmp_path: Path, lines: list[str]) -> None:
    text(tmp_path / "list_eval_partition.txt", *lines)
    assert layouts.read(tmp_path) is None


# Whatever it is


def test_none_of_them(tmp_path: Path) -> None:
    assert layouts.read(tmp_path) is None
    assert layouts.read(tmp_path / "nowhere") is None
    pictures(tmp_path, "cat/1.png", "images/2.png")
    text(tmp_path / "images.txt", "1 cat/1.png")
    text(tmp_path / "labels.csv", "path,label", "cat/1.png,cat")
    assert layouts.read(tmp_path) is None
    assert layouts.read(tmp_path / "labels.csv") is None


def test_a_folder_with_two_of_them(cub: Path, products: Path) -> None:
    assert cub.parent == products.parent
    assert "holds CUB-200-2011 and Stanford Online Products. Put each in a folder" in complaint(cub.parent)
    table(cub)
    table(products)


def test_a_file_that_may_not_be_read(cub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    assert complaint(cub) == f"{cub / 'images.txt'} cannot be read (Permission denied)."
