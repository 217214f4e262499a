"""`lookalike data emoji` over the real packages."""

import csv
import json
from collections import Counter

from PIL import Image

from training.datasets.split import hash_split


def test_the_set_is_as_large_as_promised_and_split_by_label_alone(emoji):
    with (emoji / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "name", "style", "family", "licence", "split"]
    assert len(rows) >= 14_000
    assert len({row["label"] for row in rows}) >= 1_550
    assert len({row["style"] for row in rows}) == 12
    assert len({row["family"] for row in rows}) == 7
    for row in rows:
        assert row["split"] == hash_split(row["label"], {"test": 0.5, "train": 0.4, "validation": 0.1})
    shares = Counter(split for _, split in {(row["label"], row["split"]) for row in rows})
    assert abs(shares["test"] / shares.total() - 0.5) < 0.04
    assert {row["licence"] for row in rows} == {"Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-SA-4.0"}
    assert (emoji / "ATTRIBUTION.md").is_file()


def test_every_file_is_a_drawing(emoji):
    with (emoji / "labels.csv").open(newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert sorted(paths) == sorted(file.relative_to(emoji).as_posix() for file in emoji.glob("*/*.png"))
    for path in paths[::37]:
        with Image.open(emoji / path) as drawing:
            low, high = drawing.convert("LA").getchannel("A").getextrema()
            assert drawing.size == (128, 128)
            assert low == 0 or high == 255


def test_a_second_run_has_nothing_to_do(emoji, run):
    answer = run("data", "emoji", "--to", str(emoji), "--json", PATH="/nonexistent")
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["already_there"] is True
