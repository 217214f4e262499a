"""What decides whether the comparison is fair: how settings are chosen, which lines are counted, when learning ends."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.peers import given
from bench.peers.__main__ import main
from bench.peers.contenders import CONTENDERS, lines_of, tune


def test_tuning_starts_from_what_is_documented_and_keeps_only_what_helps():
    worth = {"": 0.5, "a": 0.4, "b": 0.6, "bc": 0.7}
    tried = []

    def judge(number, settings):
        tried.append((number, "".join(settings)))
        return worth["".join(settings)]

    assert tune([{"a": 1}, {"b": 1}, {"c": 1}, {"d": 1}], 4, judge) == {"b": 1, "c": 1}
    assert tried == [(0, ""), (1, "a"), (2, "b"), (3, "bc")]


def test_lines_are_those_of_code(tmp_path):
    script = tmp_path / "script.py"
    script.write_text('"""What\nit is."""\n\nimport os\n\nfrom bench.peers import given\n\n# why\nx = [\n    1,  # one\n]\n')
    assert lines_of(script) == 4


def test_all_contenders_have_as_many_settings_to_try():
    learning = [each for each in CONTENDERS.values() if each.learns]
    assert len({len(each.changes) for each in learning}) == 1
    assert all(each.lines >= 1 for each in learning)


def test_the_clock_starts_with_the_first_question(monkeypatch):
    now = iter([100.0, 130.0, 161.0])
    monkeypatch.setattr(given.time, "monotonic", lambda: next(now))
    clock = given.Clock(minutes=1)
    assert clock.goes_on() and clock.goes_on(32) and not clock.goes_on(32)
    assert (clock.seconds, clock.images) == (61.0, 64)


def test_settings_get_the_type_of_their_default(monkeypatch, tmp_path):
    fixed = ["--data", str(tmp_path), "--learn", "train,validation", "--embed", "test", "--minutes", "1", "--to", "x"]
    monkeypatch.setattr(sys, "argv", ["script", *fixed, "rate=1e-3", "hard=1"])
    asked = given.asked(rate=0.1, hard=0, loss="triplet")
    assert vars(asked.settings) == {"rate": 0.001, "hard": 1, "loss": "triplet"}
    assert (asked.learn, asked.embed) == (["train", "validation"], ["test"])
    monkeypatch.setattr(sys, "argv", ["script", *fixed, "rat=1"])
    with pytest.raises(SystemExit):
        given.asked(rate=0.1)


def test_measured_cells_are_kept_and_not_run_again(monkeypatch, tmp_path, emoji_slice):
    """The starting point, in a real process, on real pictures."""
    monkeypatch.setattr("bench.peers.__main__.BUILD", tmp_path)
    monkeypatch.setattr("bench.peers.process.BUILD", tmp_path)
    monkeypatch.setattr("bench.peers.__main__.opaque", lambda name, tiny: Path(emoji_slice))
    monkeypatch.setattr(sys, "argv", ["bench.peers", "backbone", "--tiny"])
    assert main() == 0 and main() == 0
    (record,) = [json.loads(line) for line in (tmp_path / "peers-tiny.jsonl").read_text().splitlines()]
    assert record["variant"] == "backbone" and record["figures"]["recall@1"] > 0.5
    assert np.load(tmp_path / "backbone.npz")["vectors"].shape[1] == given.FEATURES
