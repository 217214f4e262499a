import io
import shutil

import pytest
from PIL import Image

from index.job import job


def test_the_original_is_sent_byte_for_byte(client, picture):
    answer = client.get("/images/plain.png")
    assert answer.content == picture
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(("size", "longer_side"), [("small", 240), ("medium", 320), ("large", 320)])
def test_a_smaller_copy_is_never_larger_than_the_picture(client, size, longer_side):
    answer = client.get(f"/images/plain.png?size={size}")
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == (longer_side, longer_side * 3 // 4)


def test_another_size_is_refused(client, check_problem):
    assert "size" in check_problem(client.get("/images/plain.png?size=huge"), 422, "wrong-values")


@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', '"other" ,W/{}', "*"])
def test_a_copy_that_the_client_has_is_not_sent_again(client, known):
    tag = client.get("/images/plain.png?size=small").headers["etag"]
    answer = client.get("/images/plain.png?size=small", headers={"If-None-Match": known.format(tag)})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)


def test_each_size_is_another_copy(client):
    tags = {client.get(f"/images/plain.png{size}").headers["etag"] for size in ("", "?size=small", "?size=medium")}
    assert len(tags) == 3
    for tag in tags:
        answers = [
            client.get(f"/images/plain.png{s}", headers={"If-None-Match": tag}) for s in ("", "?size=small", "?size=medium")
        ]
        assert sorted(answer.status_code for answer in answers) == [200, 200, 304]


def test_a_file_that_changed_or_went_is_not_what_was_indexed(
    gallery, backbone, encoder, open_client, tmp_path, another, check_problem
):
    copied, collection = shutil.copytree(gallery, tmp_path / "gallery"), tmp_path / "collection"
    job.run(copied, backbone, encoder, collection)
    client = open_client(collection)
    (copied / "plain.png").write_bytes(another)
    (copied / "with space.png").unlink()
    check_problem(client.get("/images/plain.png"), 404, "image-gone")
    check_problem(client.get("/images/with%20space.png?size=small"), 404, "image-gone")
