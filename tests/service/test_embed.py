import numpy as np
import pytest
from odd_ids import NAMES


@pytest.fixture
def pictures(gallery):
    return [(gallery / name).read_bytes() for name in NAMES[:3]]


def test_vectors_are_the_encoders_own_in_the_order_sent(client, encoder, pictures):
    answer = client.post("/embed", files=[("images", picture) for picture in pictures]).json()
    expected = encoder.encode(np.stack([encoder.transform(picture) for picture in pictures]))
    np.testing.assert_allclose(answer["vectors"], expected, atol=1e-5)
    assert answer["model"]["fingerprint"] == encoder.fingerprint


def test_a_raw_picture_gives_one_vector_of_length_1(client, pictures):
    vectors = client.post("/embed", content=pictures[0], headers={"Content-Type": "image/png"}).json()["vectors"]
    assert np.shape(vectors) == (1, client.get("/info").json()["model"]["dim"])
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-5)


def test_the_field_of_a_search_is_not_that_of_an_embedding(client, pictures, check_problem):
    answer = client.post("/embed", files={"image": pictures[0]})
    assert "'images'" in check_problem(answer, 422, "no-image")


def test_one_broken_picture_refuses_them_all(client, pictures, check_problem):
    answer = client.post("/embed", files=[("images", pictures[0]), ("images", pictures[1][:200])])
    check_problem(answer, 422, "damaged-image")


def test_more_parts_than_allowed(client, pictures, check_problem):
    check_problem(client.post("/embed", files=[("images", pictures[0])] * 65), 400, "malformed-multipart")
    assert len(client.post("/embed", files=[("images", pictures[0])] * 64).json()["vectors"]) == 64
