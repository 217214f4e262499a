"""`lookalike up`: from a folder of pictures to answers in one command."""

import pytest

from bench import photos


@pytest.mark.skipif(not photos.STAMPS.is_dir(), reason="needs pictures (Debian: apt install tuxpaint-stamps-default)")
def test_altered_copies_find_their_originals(tmp_path):
    gallery = tmp_path / "stamps"
    pictures = photos.write_gallery(gallery)
    assert len(pictures) == 500
    process, url, _ = photos.start(gallery, tmp_path / "collection")
    try:
        shares = photos.found_first(url, gallery, pictures)
    finally:
        process.terminate()
        process.wait(20)
    assert sum(shares.values()) / len(shares) >= 0.95, shares
