"""The card says the report's figures, and shows names from the data as they are."""

import re
from dataclasses import replace

import numpy as np
import pytest

from training.calibrate import Reliability
from training.report import Material, gather
from training.report.card import card, card_of_backbone, plain
from training.report.facts import Facts


@pytest.fixture(scope="module")
def facts(material: Material) -> Facts:
    return gather(material)


def test_the_card_has_its_sections_and_figures(facts: Facts):
    text = card(facts)
    assert re.findall("^#+ (.*)$", text, re.MULTILINE) == [
        "shapes",
        "What it is for",
        "What it learnt from",
        "How it was trained",
        "What it is worth",
        "Where it fails",
        "How to use it",
    ]
    first = facts.tables[0].rows[0]
    low, high = first.trained.interval
    assert f"| R@1: the first hit is right | {first.trained.value:.3f} ({low:.3f} to {high:.3f}) |" in text
    assert "With hits of the same hand left out" in text
    assert facts.origin.split()[0] in text
    assert "Licences of the images, as the data set states them: not stated." in text
    assert "`epochs = 2`" in text and "Its confidence was not measured." in text


def test_a_backbone_as_it_is_promises_no_figures(material: Material):
    text = card_of_backbone(material.manifest.model_copy(update={"name": "as_it is", "training": None}))
    assert text.startswith("# as\\_it is\n")
    assert re.findall("^## (.*)$", text, re.MULTILINE) == [
        "What it is for",
        "What it learnt from",
        "What it is worth",
        "How to use it",
    ]
    assert material.manifest.origin.split()[0] in text and "was not measured" in text


def test_tables_have_as_many_cells_in_every_row(facts: Facts):
    odd = replace(facts, worst=[("a|b", 0.1, 0.2, 3), ("c\nd", 0.1, 0.2, 3)])
    for table in re.findall(r"(?:^\|.*\n)+", card(odd) + "\n", re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_names_from_the_data_are_no_markdown():
    assert plain("*a* <b> [c](d) `e` # f|g") == r"\*a\* \<b\> \[c\](d) \`e\` \# f\|g"
    assert plain("one\n# two") == r"one \# two"
    assert len(plain("x" * 500)) == 60


def test_a_confidence_that_tells_nothing_is_called_so(facts: Facts):
    right = np.arange(1000) % 2 == 0
    trusts = [Reliability(np.where(right, *pair), right) for pair in ((0.9, 0.1), (0.1, 0.9))]
    good, bad = (card(replace(facts, reliability=trust)) for trust in trusts)
    assert "do not rely on it" in bad and "do not rely on it" not in good
    assert f"expected calibration error {trusts[0].figures()['ece']:.3f}" in good


def test_a_card_of_a_final_fit_says_whose_figures_they_are(facts: Facts):
    said = f"the network `{facts.fingerprint[:16]}`, before it learnt anew"
    assert said in card(replace(facts, final_fit=True)) and said not in card(facts)
