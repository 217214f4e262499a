"""The page is whole in itself, small, shows names as they are, leaves out what there is not, and fits phones."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from training.calibrate import Reliability
from training.report import Material, gather, report
from training.report.answers import Answer, Hit
from training.report.facts import Facts
from training.report.page import page
from training.report.pictures import BUDGET, Picture, album

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# How many pixels something reaches beyond the column that it belongs to.
BEYOND = """() => {
    const right = element => element.getBoundingClientRect().right
    const all = [...document.querySelectorAll("h1, p, section, table, figure, .tiles > div, .hits, .pairs, .centres, .wider")]
    return Math.max(...all.map(right)) - right(document.querySelector("main"))
}"""
LOSSES = {
    "heads": {
        "seeds": 2,
        "classes": 4,
        "losses": {
            "softmax": {
                "title": "Softmax",
                "figures": {name: {"mean": 0.5, "deviation": 0.01} for name in ("recall@1", "map@r")},
                "cost": {"seconds": None},
                "difference": {"recall@1": {"mean": 0.1, "interval": (0.05, 0.15)}},
            },
            "soft_triple": {
                "title": "SoftTriple",
                "figures": {name: {"mean": 0.6, "deviation": 0.01} for name in ("recall@1", "map@r")},
                "cost": {"seconds": 12.0},
            },
        },
    },
    "networks": {"seeds": 0, "losses": {}},
}


@pytest.fixture(scope="module")
def facts(material: Material) -> Facts:
    confidence = np.random.default_rng(0).uniform(size=500)
    right = np.random.default_rng(1).uniform(size=500) < confidence
    return replace(gather(replace(material, comparison=LOSSES)), reliability=Reliability(confidence, right))


def headings(html: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", html)


def noise(count: int, side: int = 112) -> list[Picture]:
    """What compresses worst."""
    chance = np.random.default_rng(0)
    return [Picture(chance.integers(0, 256, (side, side, 3)).astype(np.uint8), f"{place}") for place in range(count)]


def test_what_there_is_is_shown_in_its_order(facts: Facts):
    found = headings(page(facts))
    assert found[:4] == ["Loss by epoch", "Validation by epoch", "What it is worth", "Queries and their first hits"]
    assert found[-5:] == [
        "Portraits of centres",
        "A map of the tested images",
        "How far its confidence can be trusted",
        "Beside other losses",
        "How it was made, and of what",
    ]


def test_what_there_is_not_is_not_shown(facts: Facts):
    nothing = {
        "answers": {},
        "confusions": (),
        "portraits": None,
        "map": None,
        "reliability": None,
        "stages": (),
        "history": (),
    }
    html = page(replace(facts, **nothing))
    assert headings(html) == ["What it is worth", "How it was made, and of what"]
    assert "<image" not in html


def test_every_figure_is_in_the_table(facts: Facts):
    html = page(facts)
    for row in (row for table in facts.tables for row in table.rows):
        assert f"<b>{row.trained.value:.3f}</b><small>{row.trained.interval[0]:.3f} to {row.trained.interval[1]:.3f}" in html
    order = [html.index(f"<td><b>{title}</b></td>") for title in ("SoftTriple", "Softmax")]
    assert order == sorted(order)


def test_nothing_is_asked_of_another_host(facts: Facts):
    html = page(facts)
    assert "<script" not in html
    assert not re.findall(r"""(?:href|src)=["'](?!data:|#)""", html)
    assert not re.findall(r"url\(|@import", html)


def test_each_picture_is_there_once_and_all_that_are_used_are_there(facts: Facts):
    html = page(facts)
    kept, used = re.findall('<image id="(p[0-9]+)"', html), re.findall('<use href="#(p[0-9]+)"', html)
    assert len(kept) == len(set(kept)) and set(kept) == set(used)
    assert len(used) > len(kept) == len({picture.digest for picture in facts.pictures()})


def test_right_hits_are_marked_by_more_than_colour(facts: Facts):
    html = page(facts)
    hits = [hit for several in facts.answers.values() for answer in several for hit in answer.hits]
    for kind, word, right in (("yes", "right", True), ("no", "wrong", False)):
        assert len(re.findall(f'<li class="{kind}"><svg[^>]*aria-label="{word}: ', html)) == sum(
            hit.right is right for hit in hits
        )


def test_names_from_the_data_are_no_markup(facts: Facts):
    bad = "<script>alert('&')</script>"
    picture = Picture(np.zeros((8, 8, 3), np.uint8), bad, bad)
    answers = {"worst": [Answer(picture, (Hit(picture, False, 0.5),), 0.0, 1, 2)]}
    pictured = replace(facts.map, pictures={0: picture})
    html = page(replace(facts, answers=answers, map=pictured, suspects=[(picture, bad)], suspected=1, name=bad, data=bad))
    assert "<script" not in html and "alert" in html


def test_names_may_hold_what_utf_8_does_not_have(facts: Facts):
    picture = Picture(np.zeros((8, 8, 3), np.uint8), "caf\udce9", "caf\udce9.png")
    page(replace(facts, suspects=[(picture, "caf\udce9")], suspected=1, name="caf\udce9")).encode()


def test_pictures_that_compress_badly_stay_within_the_budget():
    kept = album(noise(500))
    assert len(kept.uris) == 500 and sum(map(len, kept.uris.values())) <= BUDGET


def test_few_pictures_keep_their_size():
    few, many = (len(next(iter(album(noise(count)).uris.values()))) for count in (1, 500))
    assert few > many


def test_a_page_of_the_most_pictures_is_below_5_mb(facts: Facts):
    pictures = noise(450)
    assert (
        len(page(replace(facts, suspects=[(picture, "else") for picture in pictures], suspected=len(pictures))).encode())
        < 5_000_000
    )


def test_the_bundle_is_given_both_files(material: Material):
    files = report(material)
    assert set(files) == {"report.html", "MODEL_CARD.md"}
    assert files["report.html"].startswith("<!doctype html>") and files["MODEL_CARD.md"].startswith("# shapes")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH (Debian: apt install chromium)")
@pytest.mark.parametrize("width", [360, 820, 1440])
def test_in_a_browser_nothing_sticks_out_and_nothing_complains(facts: Facts, tmp_path, width: int):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
    (tmp_path / "report.html").write_text(page(replace(facts, name="w" * 200)), encoding="utf-8")
    complaints, asked = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900})
        view.on("console", lambda message: complaints.append(message.text))
        view.on("pageerror", lambda error: complaints.append(str(error)))
        view.on("request", lambda request: asked.append(request.url))
        view.goto((tmp_path / "report.html").as_uri())
        beyond = view.evaluate(BEYOND)
        scrolls = view.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        shown = view.locator(".hits .pic").first.bounding_box()
        browser.close()
    assert beyond <= 0 and not scrolls and complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert shown["width"] > 30 and abs(shown["width"] - shown["height"]) < 1
