"""Every command as typed: what it makes, and the one sentence that it ends with when it cannot."""

import json
import shutil

import pytest


def test_bundle_index_and_evaluate(run, emoji_slice, tmp_path):
    bundle, collection = tmp_path / "bundle", tmp_path / "collection"
    assert run("bundle", "--to", str(bundle), "--size", "96").returncode == 0

    first = run("index", str(emoji_slice), "--bundle", str(bundle), "--to", str(collection), "--json")
    report = json.loads(first.stdout)
    files = len(list(emoji_slice.glob("*/*.png")))
    assert (report["count"], report["added"], report["unreadable"]) == (files, files, {})

    again = run("index", str(emoji_slice), "--bundle", str(bundle), "--to", str(collection), "--json")
    assert (json.loads(again.stdout)["encoded"], json.loads(again.stdout)["unchanged"]) == (0, files)


def test_evaluate_repeats_what_train_measured(run, bundle, emoji_slice):
    answer = run("evaluate", str(bundle.path), "--data", str(emoji_slice), "--mask", "family", "--json")
    assert json.loads(answer.stdout) == json.loads((bundle.path / "metrics.json").read_text())


def test_index_lists_what_it_cannot_read(run, emoji_slice, bundle, tmp_path):
    gallery = tmp_path / "gallery"
    shutil.copytree(emoji_slice / "1f43b", gallery / "bears")
    (gallery / "broken.jpg").write_text("no picture")
    answer = run("index", str(gallery), "--bundle", str(bundle.path), "--to", str(tmp_path / "collection"))
    assert answer.returncode == 0
    assert "broken.jpg: The file is not a JPEG" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "--data", "/nonexistent", "--to", "{tmp}/b"), "/nonexistent is not a folder"),
        (("train", "--data", "{data}", "--to", "{data}"), "exists and is not a bundle"),
        (("train", "--data", "{data}", "--to", "{tmp}/b", "--mask", "artist"), "has no column 'artist'"),
        (("evaluate", "{tmp}", "--data", "{data}"), "is not a bundle: it has no bundle.json"),
        (("index", "{data}", "--bundle", "{tmp}", "--to", "{tmp}/c"), "is not a bundle"),
        (
            ("index", "/nonexistent", "--bundle", "{bundle}", "--to", "{tmp}/c"),
            "/nonexistent cannot be read (No such file or directory)",
        ),
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
