"""The page in a real browser, against a real server: what a visitor does, and what goes wrong for them.

With LOOKALIKE_SCREENSHOT=<path> the first test also takes the README's picture.
"""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from urllib.parse import urljoin, urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from index.job import job
from model import bundle as bundles
from model import confidence
from model.encoder import open_encoder

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
expect = playwright.expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH (Debian: apt install chromium)")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"viewport": {"width": 1280, "height": 860}, "device_scale_factor": 1.5}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
# These tests provoke failures of these two; a failed answer of any other address is a complaint.
MAY_FAIL = {"/search", "/readyz"}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, server):
    """Opens the page. In the end none may have complained: no exception, no breach of its security policy."""
    contexts, complaints = [], []

    def read(line):
        # The browser's own line about a failed answer names no path: `check` judges those.
        if line.type == "error" and not line.text.startswith("Failed to load resource"):
            complaints.append(line.text)

    def check(answer):
        if answer.status >= 400 and urlsplit(answer.url).path not in MAY_FAIL:
            complaints.append(f"{answer.status} {answer.url}")

    def visited(device=DESKTOP, prepare=None, url=server):
        context = browser.new_context(**device)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", read)
        page.on("response", check)
        # A chooser is caught only while someone listens, and listening takes effect later than a key press.
        page.on("filechooser", lambda chooser: None)
        if prepare:
            prepare(page)
        page.goto(url)
        return page

    yield visited
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(visit):
    return visit()


@pytest.fixture(scope="module")
def calibrated(bundle, emoji_slice, tmp_path_factory):
    """The address of a server over the bear and some more, whose bundle states that only cosines near 1 are worth much."""
    folder = tmp_path_factory.mktemp("calibrated")
    copy = shutil.copytree(bundle.path, folder / "bundle")
    (copy / "bundle.json").unlink()
    worth = confidence.Calibration(scores=[0.0, 0.95, 1.0], ratios=[-9.0, -6.0, 9.0], matches=8)
    (copy / confidence.FILE).write_text(worth.model_dump_json())
    bundles.seal(copy, bundle.manifest.model_copy())
    for label in ("1f43b", *sorted(each.name for each in emoji_slice.iterdir() if each.is_dir())[:5]):
        shutil.copytree(emoji_slice / label, folder / "gallery" / label, dirs_exist_ok=True)
    made = bundles.load(copy)
    job.run(folder / "gallery", made, open_encoder(made, "openvino"), folder / "collection")
    command = [sys.executable, "-m", "lookalike", "serve", str(folder / "collection"), "--port", "0"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        while not (found := re.search(r"http://[\w.:]+", (folder / "log").read_text())):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.02)
        while httpx.get(f"{found[0]}/readyz").status_code != 200:
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield found[0]
        process.terminate()


@pytest.fixture
def picture(emoji_slice):
    return emoji_slice / "1f43b" / "openmoji.png"


@pytest.fixture
def stranger(tmp_path):
    """A picture that is like nothing in the collection: coloured noise."""
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)).save(path)
    return path


def drop(page, path, kind="image/png"):
    page.evaluate(
        """([name, type, data]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([Uint8Array.from(atob(data), char => char.charCodeAt(0))], name, { type }));
            for (const event of ['dragenter', 'dragover', 'drop'])
                document.querySelector('main').dispatchEvent(
                    new DragEvent(event, { bubbles: true, cancelable: true, dataTransfer }));
        }""",
        [path.name, kind, base64.b64encode(path.read_bytes()).decode()],
    )


def pick(page, path):
    with page.expect_file_chooser() as chooser:
        page.locator(".pick:visible").click()
    chooser.value.set_files(path)


def hits(page):
    return page.locator("#hits:not([aria-busy=true])").get_by_role("button")


def score(hit):
    """The cosine, whatever else the tile says."""
    return float(re.search(r"^cosine (-?[\d.]+)$", hit.get_attribute("title"), re.MULTILINE)[1])


def worth(hit):
    return hit.locator(".score").inner_text().replace("\u00a0", " ")


def bar(hit):
    """How much of a tile's bar is filled."""
    return float(hit.evaluate("tile => getComputedStyle(tile).getPropertyValue('--score')"))


def muted(hit):
    return hit.locator(".print").evaluate("print => print.matches('.strange *') && getComputedStyle(print).filter !== 'none'")


def same_picture(page, hit, path):
    """Equal pixels: two of the drawing styles may hold the very same drawing."""
    address = urljoin(page.url, hit.locator("img").get_attribute("src"))
    original = page.request.get(address.partition("?")[0]).body()
    return pixels(original) == pixels(path.read_bytes())


def pixels(data):
    return Image.open(io.BytesIO(data)).convert("RGBA").tobytes()


def too_wide(page):
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


def test_a_dropped_picture_finds_itself_first(page, picture):
    drop(page, picture)
    expect(hits(page)).to_have_count(24)
    assert score(hits(page).first) >= 0.999
    assert same_picture(page, hits(page).first, picture)
    scores = [score(hit) for hit in hits(page).all()]
    assert scores == sorted(scores, reverse=True)
    expect(page.locator("#facts")).to_have_text(re.compile(r"^[\d,]+ images · model .+ · took [\d.]+ ms$"))
    if target := os.environ.get("LOOKALIKE_SCREENSHOT"):
        page.wait_for_load_state("networkidle")
        page.screenshot(path=target, animations="disabled")


def test_a_hit_is_the_next_query_and_the_history_leads_back(page, picture):
    drop(page, picture)
    expect(hits(page)).to_have_count(24)
    second = hits(page).nth(1)
    chosen = second.locator("img").get_attribute("src")
    second.click()
    expect(hits(page).first.locator("img")).to_have_attribute("src", chosen)
    assert score(hits(page).first) >= 0.999
    expect(page.locator("aside")).to_contain_text("From the collection")

    page.go_back()
    expect(page.locator("aside")).to_contain_text(picture.name)
    assert same_picture(page, hits(page).first, picture)
    page.go_back()
    expect(page.get_by_role("heading", name="Find what looks alike")).to_be_visible()
    page.go_forward()
    page.go_forward()
    expect(hits(page).first.locator("img")).to_have_attribute("src", chosen)


def test_paste(visit, picture):
    page = visit(prepare=lambda page: page.context.grant_permissions(["clipboard-read", "clipboard-write"]))
    page.evaluate(
        """async data => {
            const bytes = Uint8Array.from(atob(data), char => char.charCodeAt(0));
            const picture = new Blob([bytes], { type: 'image/png' });
            await navigator.clipboard.write([new ClipboardItem({ 'image/png': picture })]);
        }""",
        base64.b64encode(picture.read_bytes()).decode(),
    )
    page.keyboard.press("Control+V")
    expect(hits(page)).to_have_count(24)
    expect(page.locator("aside")).to_contain_text("Pasted picture")
    assert score(hits(page).first) >= 0.999


def test_pick_and_ask_for_fewer(page, picture):
    pick(page, picture)
    expect(hits(page)).to_have_count(24)
    assert same_picture(page, hits(page).first, picture)
    page.get_by_role("radio", name="12").check()
    expect(hits(page)).to_have_count(12)
    pick(page, picture)
    expect(hits(page)).to_have_count(12)


def test_the_keyboard_is_enough(page, picture):
    choose = page.get_by_role("button", name="Choose a picture")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(choose).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(picture)
    expect(hits(page)).to_have_count(24)
    expect(page.get_by_role("status").filter(has_text="24 results")).to_be_attached()

    expect(page.get_by_role("heading", name="Most alike")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="24")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(hits(page).nth(1)).to_be_focused()
    chosen = hits(page).nth(1).locator("img").get_attribute("src")
    page.keyboard.press("Enter")
    expect(hits(page).first.locator("img")).to_have_attribute("src", chosen)
    expect(page.get_by_role("heading", name="Most alike")).to_be_focused()


def test_what_is_no_picture_shows_the_servers_sentence(page, picture, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("milk, eggs")
    with page.expect_response("**/search?*") as answer:
        drop(page, notes, "text/plain")
    problem = answer.value.json()
    assert answer.value.status == 415
    expect(page.get_by_role("alert")).to_contain_text(problem["detail"].replace("`", ""))
    expect(hits(page)).to_have_count(0)

    drop(page, picture)
    expect(hits(page)).to_have_count(24)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_lost_connection_can_be_tried_again(visit, picture):
    page = visit(prepare=lambda page: page.route("**/search?*", lambda route: route.abort(), times=1))
    drop(page, picture)
    expect(page.get_by_role("alert")).to_contain_text("did not answer")
    page.get_by_role("button", name="Try again").click()
    expect(hits(page)).to_have_count(24)


def test_words_on_the_clipboard_change_nothing(page):
    page.evaluate(
        """() => {
            const clipboardData = new DataTransfer();
            clipboardData.setData('text/plain', 'a bear');
            document.body.dispatchEvent(new ClipboardEvent('paste', { bubbles: true, clipboardData }));
        }"""
    )
    expect(page.locator("#toast")).to_contain_text("no picture")
    expect(page.get_by_role("heading", name="Find what looks alike")).to_be_visible()


def test_a_phone_never_scrolls_sideways(visit, picture, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("milk, eggs")
    page = visit(PHONE)
    assert not too_wide(page)
    drop(page, notes, "text/plain")
    expect(page.get_by_role("alert")).to_be_visible()
    assert not too_wide(page)
    pick(page, picture)
    expect(hits(page)).to_have_count(24)
    assert not too_wide(page)


def test_tiles_tell_how_likely_they_show_the_same_kind(visit, calibrated, picture):
    page = visit(url=calibrated)
    with page.expect_response("**/search?*") as answer:
        drop(page, picture)
    expect(hits(page)).to_have_count(24)
    expect(page.get_by_role("heading", name="Most alike")).to_be_visible()
    expect(page.locator("#verdict")).to_be_hidden()
    found = answer.value.json()
    assert found["similar"] is True
    for hit, told in zip(hits(page).all(), found["results"], strict=True):
        assert score(hit) == pytest.approx(told["score"], abs=0.0006)
        assert bar(hit) == pytest.approx(told["confidence"])
    assert worth(hits(page).first) == "> 99 % same kind"
    assert worth(hits(page).last) == "< 1 % same kind"
    expect(
        page.get_by_role("status").filter(has_text=re.compile(r"^24 results\. Most alike: .+, >\s99\s% same\skind\.$"))
    ).to_be_attached()


def test_nothing_similar_is_said_and_the_nearest_can_be_used(visit, calibrated, stranger):
    page = visit(url=calibrated)
    drop(page, stranger)
    heading = page.get_by_role("heading", name="Nothing similar here")
    expect(heading).to_be_visible()
    expect(page.get_by_text("They probably show something else")).to_be_visible()
    expect(
        page.get_by_role("status").filter(has_text=re.compile(r"^Nothing similar here\. 24 nearest .* same\skind\.$"))
    ).to_be_attached()
    expect(hits(page)).to_have_count(24)
    assert worth(hits(page).first) == "< 1 % same kind"
    assert muted(hits(page).nth(1))
    page.get_by_role("radio", name="12").check()
    expect(hits(page)).to_have_count(12)
    expect(heading).to_be_visible()

    hits(page).first.click()
    expect(page.get_by_role("heading", name="Most alike")).to_be_visible()
    expect(hits(page).first).to_contain_text(re.compile(r">\s99\s%"))
    expect(page.get_by_text("They probably show something else")).to_be_hidden()
    assert not muted(hits(page).nth(1))
    page.go_back()
    expect(heading).to_be_visible()
    assert muted(hits(page).nth(1))


def test_a_failure_takes_the_verdict_away(visit, calibrated, stranger, tmp_path):
    page = visit(url=calibrated)
    drop(page, stranger)
    expect(page.locator("#verdict")).to_be_visible()
    notes = tmp_path / "notes.txt"
    notes.write_text("milk, eggs")
    drop(page, notes, "text/plain")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("#verdict")).to_be_hidden()
    expect(page.get_by_role("heading", name="Nothing similar here")).to_have_count(0)


def test_without_a_calibration_tiles_tell_the_cosine(visit, picture):
    def unknown(route):
        answer = route.fetch()
        body = answer.json()
        body |= {"similar": None, "message": None, "results": [hit | {"confidence": None} for hit in body["results"]]}
        route.fulfill(response=answer, json=body)

    page = visit(prepare=lambda page: page.route("**/search?*", unknown))
    drop(page, picture)
    expect(hits(page)).to_have_count(24)
    for hit in hits(page).all():
        assert float(worth(hit)) == score(hit) == pytest.approx(bar(hit), abs=0.0006)
    expect(page.get_by_role("heading", name="Most alike")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text=re.compile(r"Most alike: .+, 1\.000\.$"))).to_be_attached()


@pytest.mark.parametrize("asked", ["picture", "stranger"])
def test_confidences_fit_a_phone(visit, calibrated, asked, request):
    page = visit(PHONE, url=calibrated)
    pick(page, request.getfixturevalue(asked))
    expect(hits(page)).to_have_count(24)
    assert not too_wide(page)
    assert page.locator(".score").evaluate_all("all => all.every(each => each.scrollWidth <= each.clientWidth)")


def test_waits_for_a_collection_that_is_not_ready(visit):
    asked = []

    def not_ready(route):
        asked.append(route.request.url)
        problem = {"status": 503, "detail": "The collection is empty: run `lookalike index GALLERY --to DIR`."}
        route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(problem))

    page = visit(prepare=lambda page: page.route("**/readyz", not_ready, times=2))
    expect(page.get_by_role("heading", name="Not ready yet")).to_be_visible()
    expect(page.locator("code").filter(has_text="lookalike index GALLERY --to DIR")).to_be_visible()
    expect(page.get_by_role("heading", name="Find what looks alike")).to_be_visible(timeout=15_000)
    assert len(asked) == 2


def test_metadata_is_text(visit, picture):
    trap = "<img src=/web/nowhere.png onerror=document.title='caught'>"

    def poisoned(route):
        answer = route.fetch()
        body = answer.json()
        body["results"][0]["metadata"] = {"name": trap, "style": trap, "price": 3}
        route.fulfill(response=answer, json=body)

    page = visit(prepare=lambda page: page.route("**/search?*", poisoned, times=1))
    drop(page, picture)
    expect(hits(page).first.locator(".caption")).to_have_text(trap)
    expect(hits(page).first.locator(".fine")).to_have_text(f"{trap} · price 3")
    hits(page).first.click()
    expect(page.locator("#query-caption")).to_have_text(trap)


def test_the_page_may_load_from_its_own_server_only(page, server):
    policy = page.request.get(server).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-inline" not in policy
