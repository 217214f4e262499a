"""Every command as typed: what it makes, and the one sentence that it ends with when it cannot."""

import csv
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from index.job import job
from index.lock import only_job
from model.encoder import open_encoder
from model.metrics import NAMES, scores
from model.neighbours import nearest
from training.datasets.check import decode
from training.datasets.labels import read


def test_bundle_index_and_evaluate(run, emoji_slice, tmp_path):
    bundle, collection = tmp_path / "bundle", tmp_path / "collection"
    assert run("bundle", "--to", str(bundle), "--size", "96").returncode == 0
    assert "What it is for" in (bundle / "MODEL_CARD.md").read_text()

    first = run("index", str(emoji_slice), "--bundle", str(bundle), "--to", str(collection), "--json")
    report = json.loads(first.stdout)
    files = len(list(emoji_slice.glob("*/*.png")))
    assert (report["count"], report["added"], report["unreadable"]) == (files, files, {})

    again = run("index", str(emoji_slice), "--bundle", str(bundle), "--to", str(collection), "--json")
    assert (json.loads(again.stdout)["encoded"], json.loads(again.stdout)["unchanged"]) == (0, files)


def test_evaluate_repeats_what_train_measured(run, bundle, emoji_slice):
    answer = run("evaluate", str(bundle.path), "--data", str(emoji_slice), "--mask", "family", "--json")
    figures = json.loads((bundle.path / "metrics.json").read_text())
    assert json.loads(answer.stdout) == figures | {"saw_tests": False}


def test_evaluate_says_that_a_bundle_has_seen_the_test_classes(run, bundle, emoji_slice, tmp_path):
    """Here because the classes are split otherwise than for its training; a final fit is told in the same words."""
    data = tmp_path / "data"
    shutil.copytree(emoji_slice, data)
    rows = csv.DictReader((emoji_slice / "labels.csv").read_text().splitlines())
    (data / "labels.csv").write_text("path,label\n" + "".join(f"{row['path']},{row['label']}\n" for row in rows))
    answer = run("evaluate", str(bundle.path), "--data", str(data), "--no-backbone")
    assert answer.returncode == 0, answer.stderr
    assert "These figures may be too good" in " ".join((answer.stdout + answer.stderr).split())


def test_index_lists_what_it_cannot_read(run, emoji_slice, bundle, tmp_path):
    gallery = tmp_path / "gallery"
    shutil.copytree(emoji_slice / "1f43b", gallery / "bears")
    (gallery / "broken.jpg").write_text("no picture")
    answer = run("index", str(gallery), "--bundle", str(bundle.path), "--to", str(tmp_path / "collection"))
    assert answer.returncode == 0
    assert "broken.jpg: The file is not a JPEG" in answer.stderr


# A job's statuses


@pytest.fixture
def given(drawings, backbone, tmp_path) -> tuple[str, ...]:
    """What `index` is typed with."""
    return ("index", str(drawings), "--bundle", str(backbone.path), "--to", str(tmp_path / "collection"))


def test_a_dry_run_says_what_a_job_would_do_and_writes_nothing(run, given, drawings, tmp_path):
    answer = run(*given, "--dry-run", "--json")
    files = len(list(drawings.glob("*.png")))
    found = json.loads(answer.stdout)
    assert (answer.returncode, found["read"], found["new"], found["seconds"]) == (0, files, files, None)
    assert not (tmp_path / "collection").exists()
    shown = " ".join(run(*given, "--dry-run").stderr.split())
    assert f"Of {files} files {files} would be read: {files} new ones" in shown and "Nothing was written." in shown


def test_a_job_beside_another_one_ends_with_a_status_of_its_own(run, given, tmp_path):
    assert run(*given, "--json").returncode == 0
    with only_job(tmp_path / "collection"):
        answer = run(*given, "--json")
    assert (answer.returncode, os.EX_TEMPFAIL) == (75, 75)
    assert "Another job is working on" in answer.stderr and "Another job is working on" in json.loads(answer.stdout)["error"]
    assert run(*given).returncode == 0


def test_a_job_that_refuses_tells_what_it_did_as_json_too(run, given, drawings, tmp_path):
    gallery = tmp_path / "gallery"
    shutil.copytree(drawings, gallery)
    (gallery / "broken.png").write_text("no picture")
    answer = run("index", str(gallery), *given[2:], "--max-failures", "0", "--json")
    told = json.loads(answer.stdout)
    assert answer.returncode == 1
    assert told["error"].startswith("1 files cannot be read, more than --max-failures 0, e.g. broken.png: ")
    assert list(told["unreadable"]) == ["broken.png"]
    assert " ".join(told["error"].split()) in " ".join(answer.stderr.split())


def test_whatever_goes_wrong_is_told_as_json_too(run, given):
    for typed, sentence in (
        (("index", "x" * 300, *given[2:], "--dry-run"), "cannot be read (File name too long)"),
        ((*given[:4], "--to", "/proc/none"), "/proc/none: No such file or directory."),
    ):
        answer = run(*typed, "--json")
        assert answer.returncode == 1
        assert sentence in json.loads(answer.stdout)["error"]


def test_what_was_typed_wrong_ends_with_status_2(run, given):
    answer = run(*given, "--keep", "0")
    assert (answer.returncode, answer.stdout) == (2, "")


def test_a_job_that_is_interrupted_says_so_and_the_next_one_goes_on(run, given, tmp_path):
    gallery, collection = tmp_path / "gallery", tmp_path / "collection"
    gallery.mkdir()
    for number in range(1500):
        colours = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(colours).save(gallery / f"{number}.png")
    typed = ("index", str(gallery), *given[2:], "--json")
    command = [sys.executable, "-m", "lookalike", *typed]
    # What a shell began in the background passes on that it ignores this signal.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        while kept(collection) == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        told = process.communicate()[1]
    assert process.returncode == 130, told
    assert "Stopped. Run the same command again to go on." in told and "Traceback" not in told
    encoded = kept(collection)
    report = json.loads(run(*typed).stdout)
    assert (report["count"], report["encoded"]) == (1500, 1500 - encoded)


def kept(collection) -> int:
    """Vectors in the catalog."""
    try:
        with closing(sqlite3.connect(f"file:{collection}/catalog.sqlite?mode=ro", uri=True)) as rows:
            return rows.execute("SELECT count(*) FROM vectors").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "--data", "/nonexistent", "--to", "{tmp}/b"), "/nonexistent is not there"),
        (("train", "--data", "{data}", "--to", "{data}"), "exists and is not a bundle"),
        (("train", "--data", "{data}", "--to", "{tmp}/b", "--mask", "artist"), "has no column 'artist'"),
        (("evaluate", "{tmp}", "--data", "{data}"), "is not a bundle: it has no bundle.json"),
        (("evaluate", "{bundle}"), "Give one of: BUNDLE --data DATA"),
        (("evaluate", "{bundle}", "--data", "{data}", "--vectors", "{tmp}/file"), "Give one of: BUNDLE --data DATA"),
        (("evaluate", "--vectors", "{tmp}/file"), "{tmp}/file cannot be read as Parquet"),
        (("evaluate", "--service", "http://127.0.0.1:9", "--data", "{data}"), "No service answers at http://127.0.0.1:9"),
        (("train", "--data", "{data}", "--to", "{tmp}/b", "--proportions", "70/30"), "--proportions: '70/30' has 2 parts"),
        (("data", "check", "{tmp}/nothing"), "{tmp}/nothing is not there"),
        (("doctor", "--data", "{tmp}/file"), "{tmp}/file is not a table"),
        (("index", "{data}", "--bundle", "{tmp}", "--to", "{tmp}/c"), "is not a bundle"),
        (
            ("index", "/nonexistent", "--bundle", "{bundle}", "--to", "{tmp}/c"),
            "/nonexistent is not a folder, nor a list of pictures.",
        ),
        (("duplicates", "/nonexistent"), "/nonexistent holds no collection yet. Fill it with `lookalike index` first."),
        (("duplicates", "{data}"), "{data} holds no collection yet. Fill it with `lookalike index` first."),
        (("duplicates", "{tmp}/file"), "{tmp}/file holds no collection yet. Fill it with `lookalike index` first."),
        (("up", "/nonexistent"), "/nonexistent is not a folder"),
        (("search", "/nonexistent.png"), "/nonexistent.png: No such file or directory"),
        (("search", "{data}/1f43b/noto.png", "--url", "http://127.0.0.1:9"), "No service answers at http://127.0.0.1:9"),
        (("data", "emoji", "--to", "{tmp}/file"), "{tmp}/file"),
    ],
)
def test_what_cannot_be_done_ends_in_one_sentence(run, arguments, sentence, emoji_slice, bundle, tmp_path):
    (tmp_path / "file").touch()
    places = {"tmp": tmp_path, "data": emoji_slice, "bundle": bundle.path}
    answer = run(*(argument.format(**places) for argument in arguments))
    assert answer.returncode == 1
    assert sentence.format(**places) in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


def test_a_setting_that_is_wrong_names_itself(run, tmp_path):
    answer = run("serve", str(tmp_path), LOOKALIKE_THREADS="none")
    assert answer.returncode == 1
    assert "LOOKALIKE_THREADS" in answer.stderr


# Copies


@pytest.fixture
def copied(backbone, encoder, tmp_path):
    """A collection of four pictures: the first also as the same file, the second smaller, the third with a border."""
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    pictures = []
    for seed, name in enumerate("abcd"):
        colours = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
        pictures.append(Image.fromarray(colours).resize((320, 240), Image.Resampling.BICUBIC))
        pictures[-1].save(gallery / f"{name}.png")
    shutil.copy(gallery / "a.png", gallery / "twin.png")
    pictures[1].resize((160, 120)).save(gallery / "small.jpg", quality=90)
    ImageOps.expand(pictures[2], 16, "black").save(gallery / "bordered.jpg", quality=90)
    job.run(gallery, backbone, encoder, tmp_path / "collection")
    return tmp_path / "collection"


def test_duplicates_are_told_and_shown(run, copied, tmp_path):
    page = tmp_path / "duplicates.html"
    found = json.loads(run("duplicates", str(copied), "--page", str(page), "--json").stdout)
    pairs = {each["keep"]["id"]: [(copy["id"], copy["why"]) for copy in each["copies"]] for each in found["clusters"]}
    assert pairs == {
        "a.png": [("twin.png", "same file")],
        "b.png": [("small.jpg", "same picture")],
        "c.png": [("bordered.jpg", "same picture")],
    }
    assert (found["items"], found["copies"], found["pending"], found["unreadable"]) == (7, 3, 0, {})
    shown = page.read_text()
    assert "<h1>3 copies of 3 pictures</h1>" in shown and shown.count("<img src") == 7
    answer = run("duplicates", str(copied), "--page", str(page), COLUMNS="80")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert re.search(r"b\.png +keep +320 × 240 .*\n +small\.jpg +same picture +160 × 120 ", answer.stderr), answer.stderr
    assert "3 copies of 3 pictures among 7 items" in answer.stderr and f"Pictures of them: {page}" in answer.stderr
    assert len(list((tmp_path / "gallery").iterdir())) == 7


def test_a_page_that_cannot_be_written_is_told(run, copied):
    answer = run("duplicates", str(copied), "--page", "/nonexistent/page.html")
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == "/nonexistent/page.html: No such file or directory."


# Labelled pictures


def labelled(folder, emoji_slice, rows):
    """A folder with a labels.csv of ``rows``, of columns path,label,split; its pictures are some of the slice."""
    (folder / "a").mkdir(parents=True)
    for name in ("noto", "twemoji", "openmoji"):
        shutil.copy(emoji_slice / "1f43b" / f"{name}.png", folder / "a")
    (folder / "labels.csv").write_text("path,label,split\n" + "".join(f"{row}\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    ("rows", "options", "status", "kinds"),
    [
        (["a/noto.png,bear,train", "a/twemoji.png,bear,train"], [], 0, []),
        (["a/noto.png,bear,train", "a/twemoji.png,beer,train"], [], 0, ["single-image"] * 2),
        (["a/noto.png,bear,train", "a/twemoji.png,beer,train"], ["--strict"], 1, ["single-image"] * 2),
        (["a/noto.png,bear,tset", "a/twemoji.png,bear,train", "gone.png,bear,train"], [], 1, ["unknown-split", "missing-file"]),
    ],
)
def test_data_check_lists_every_problem_and_says_so_by_its_status(run, rows, options, status, kinds, emoji_slice, tmp_path):
    folder = labelled(tmp_path / "data", emoji_slice, rows)
    answer = run("data", "check", str(folder), "--json", *options)
    found = json.loads(answer.stdout)
    assert [problem["kind"] for problem in found["problems"]] == kinds
    assert answer.returncode == status
    assert found["errors"] + found["warnings"] == len(kinds)
    shown = run("data", "check", str(folder), *options)
    assert shown.returncode == status
    assert all(kind in shown.stderr for kind in kinds)


def test_training_lists_every_problem_before_it_begins(run, emoji_slice, tmp_path):
    rows = [
        "a/noto.png,bear,train",
        "gone.png,bear,train",
        "a/twemoji.png,bear,test",
        "a/openmoji.png,bear,test",
        "away.png,x,test",
    ]
    answer = run("train", "--data", str(labelled(tmp_path / "data", emoji_slice, rows)), "--to", str(tmp_path / "bundle"))
    assert answer.returncode == 1
    assert "row 3: gone.png: the file does not exist" in answer.stderr
    assert "row 6: away.png: the file does not exist" in answer.stderr
    assert not (tmp_path / "bundle").exists()


def test_doctor_estimates_a_training(run, emoji_slice):
    found = json.loads(run("doctor", "--data", str(emoji_slice), "--json").stdout)
    assert found["machine"]["cores"] >= 1
    data = found["data"]
    rounding = 0.06 * data["epochs"]
    assert data["training_seconds"] == pytest.approx(data["epoch_seconds"] * data["epochs"], abs=rounding)
    assert data["images_per_second"] > 1


def test_doctor_without_pictures_tells_of_the_machine(run):
    assert " cores, " in run("doctor").stderr


# Evaluation


def test_vectors_of_elsewhere_are_measured_like_a_bundle(run, bundle, emoji_slice, tmp_path):
    test = read(emoji_slice).split("test")
    pixels = decode(test, bundle.manifest.transform)[0].pixels
    vectors = 7 * open_encoder(bundle).encode(pixels).astype(np.float64)  # whatever their length
    columns = {"vector": list(vectors), "label": test.labels, "group": test.column("family")}
    pq.write_table(pa.table(columns), tmp_path / "vectors.parquet")
    found = json.loads(run("evaluate", "--vectors", str(tmp_path / "vectors.parquet"), "--nmi", "--json").stdout)
    expected = json.loads((bundle.path / "metrics.json").read_text())
    for ours, theirs in ((found, expected), (found["masked"], expected["masked"])):
        assert {name: ours[name] for name in NAMES} == pytest.approx({name: theirs[name] for name in NAMES}, abs=1e-6)
    assert 0 < found["nmi"] < 1
    assert set(found["intervals"]) == set(NAMES)


def test_a_service_is_measured_by_its_own_answers(run, server, collection, bundle, emoji_slice, tmp_path):
    answer = run("evaluate", "--service", server, "--data", str(emoji_slice), "--mask", "family", "--json")
    found = json.loads(answer.stdout)
    data = read(emoji_slice)
    vectors = open_encoder(bundle).encode(decode(data, bundle.manifest.transform)[0].pixels)
    tests = [row for row, split in enumerate(data.table["split"]) if split == "test"]
    for masks, ours in ((None, found), (data.column("family"), found["masked"])):
        expected = scores(nearest(vectors, data.labels, queries=np.array(tests), masks=masks), data.labels).means()
        assert {name: ours[name] for name in NAMES} == pytest.approx(expected, abs=1e-6)


def test_plots_and_classes_where_asked_for(run, bundle, emoji_slice, tmp_path):
    plots = tmp_path / "plots"
    arguments = ("evaluate", str(bundle.path), "--data", str(emoji_slice), "--no-backbone", "--plots", str(plots), "--by-class")
    found = json.loads(run(*arguments, "--json").stdout)
    assert {path.name for path in plots.iterdir()} == {"recall.png", "classes.png", "scores.png"}
    assert set(found["by_class"]) == set(read(emoji_slice).split("test").labels)
    assert "backbone" not in found
    shown = run(*arguments).stderr
    assert "queries of" in shown
    assert f"{found['recall@1']:.4f}" in shown


def test_a_bundle_is_measured_on_the_classes_that_it_was_not_trained_on(run, emoji_slice, tmp_path):
    """Its own split, whatever the default is: with another one it would be tested on what it learnt."""
    folder = tmp_path / "bears and others"
    for label in sorted(path.name for path in emoji_slice.iterdir() if path.is_dir())[:24]:
        shutil.copytree(emoji_slice / label, folder / label)
    split = ("--proportions", "40/0/60", "--split-seed", "9")
    answer = run("train", "--data", str(folder), "--to", str(tmp_path / "bundle"), "--epochs", "1", *split, "--json")
    trained = json.loads(answer.stdout)
    again = run("evaluate", str(tmp_path / "bundle"), "--data", str(folder), "--json")
    assert json.loads(again.stdout) == {name: trained[name] for name in trained if name != "centers"}
    other = run("evaluate", str(tmp_path / "bundle"), "--data", str(folder), "--split-seed", "1", "--no-backbone", "--json")
    assert json.loads(other.stdout)["queries"] != trained["queries"]
