"""A new bundle is tried before it is published: worse ones are refused with what was measured, and search goes on."""

import io

import numpy as np
import pytest
from miniatures import CountingEncoder, make_bundle, write
from PIL import Image

from index.job import JobError

LABELS, EACH = 12, 4


class Scrambled(CountingEncoder):
    """The same picture, the same vector; but what looks alike is nowhere near."""

    def vectors(self, images: np.ndarray) -> np.ndarray:
        found = [np.random.default_rng(list(image.tobytes()[::7])).normal(size=self.dim) for image in images]
        return np.stack([each / np.linalg.norm(each) for each in found]).astype(np.float32)


class Forgetful(CountingEncoder):
    """Another vector each time."""

    def vectors(self, images: np.ndarray) -> np.ndarray:
        found = np.random.default_rng(self.encoded).normal(size=(len(images), self.dim))
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def labelled(shop):
    """Twelve kinds of pictures, four variants of each."""
    lines = ["path,label"]
    for label in range(LABELS):
        colours = np.random.default_rng(label).integers(40, 216, (4, 4, 3))
        for variant in range(EACH):
            changed = colours + np.random.default_rng([label, variant]).integers(-20, 21, colours.shape)
            data = io.BytesIO()
            Image.fromarray(changed.astype(np.uint8)).resize((32, 32), Image.Resampling.NEAREST).save(data, "PNG")
            write(shop.gallery / f"{label}-{variant}.png", data.getvalue())
            lines.append(f"{label}-{variant}.png,kind {label}")
    (shop.gallery / "labels.csv").write_text("\n".join(lines))
    shop.index()
    return shop


def renew(shop, encoder=CountingEncoder) -> None:
    shop.use(make_bundle(shop.folder / "bundle2", seed=2))
    shop.encoder = encoder(shop.bundle)


def test_a_bundle_that_is_as_good_takes_over(labelled):
    renew(labelled)
    verdict = labelled.index().verdict
    assert (verdict["queries"], verdict["pictures"], verdict["worse"]) == (LABELS * EACH, LABELS * EACH, [])
    assert verdict["new"] == {"recall": 1.0, "right": 1.0, "itself": 1.0}
    assert verdict["old"] == {"recall": 1.0, "right": 1.0, "itself": None}


def test_one_that_confuses_what_the_old_one_tells_apart_is_refused_unless_told_so(labelled):
    before = set(labelled.found())
    old = labelled.bundle, labelled.encoder
    renew(labelled, Scrambled)
    with pytest.raises(JobError, match=r"same label for \d+\.\d% of 48 items; it was 100\.0%.*--allow-worse") as end:
        labelled.index()
    assert end.value.report.verdict["new"]["right"] < end.value.report.verdict["old"]["right"] == 1.0
    new = labelled.bundle, labelled.encoder
    labelled.bundle, labelled.encoder = old
    assert set(labelled.found()) == before, "the generation before is searched as it was"
    labelled.bundle, labelled.encoder = new
    report = labelled.index(allow_worse=True)
    assert report.verdict["worse"] and report.count == LABELS * EACH
    assert max(labelled.encoder.images.values()) <= 3, "encoded once, and once more by each verdict"
    catalog = labelled.catalog()
    assert labelled.searcher(catalog).generation.fingerprint == labelled.bundle.fingerprint
    catalog.close()


def test_one_that_does_not_find_what_it_encoded_is_refused(labelled):
    renew(labelled, Forgetful)
    with pytest.raises(JobError, match=r"of 48 pictures do not find themselves"):
        labelled.index()


def test_the_field_of_the_labels_can_be_named(labelled):
    text = (labelled.gallery / "labels.csv").read_text()
    (labelled.gallery / "labels.csv").write_text(text.replace("path,label", "path,sort"))
    labelled.index()
    renew(labelled, Scrambled)
    with pytest.raises(JobError, match="same label"):
        labelled.index(label="sort")
    report = labelled.index()
    assert report.verdict["queries"] == 0 and report.verdict["new"]["right"] is None, "without labels only pictures are tried"
    assert report.verdict["new"]["itself"] == 1.0


def test_the_same_bundle_is_not_tried_again(labelled):
    write(labelled.gallery / "new.png", 77)
    assert labelled.index().verdict is None


def test_where_the_current_generation_is_damaged_there_is_nothing_to_compare_with(labelled):
    (segment,) = (labelled.collection / "segments").iterdir()
    (segment / "vectors.f32").write_bytes(b"")
    renew(labelled, Scrambled)
    report = labelled.index()
    assert (report.verdict, report.count) == (None, LABELS * EACH)


def test_metadata_that_changes_in_the_same_run_is_not_held_against_the_bundle(labelled):
    """Every item is of another version then, and what is searched still holds the ones before."""
    text = (labelled.gallery / "labels.csv").read_text().replace("path,label", "path,price,label")
    (labelled.gallery / "labels.csv").write_text(text.replace(".png,", ".png,7,"))
    renew(labelled)
    report = labelled.index()
    assert (report.added, report.verdict["queries"], report.verdict["worse"]) == (LABELS * EACH, LABELS * EACH, [])
    assert report.verdict["new"]["right"] == 1.0


def test_labels_that_change_in_the_same_run_are_no_measure(labelled):
    text = (labelled.gallery / "labels.csv").read_text()
    (labelled.gallery / "labels.csv").write_text(text.replace("kind 1\n", "kind 99\n"))
    renew(labelled)
    assert labelled.index().verdict["queries"] == (LABELS - 1) * EACH
