import logging

import pytest
from starlette.testclient import TestClient

from index.catalog import CatalogError
from service.app import create_app
from service.settings import Settings


@pytest.mark.parametrize("path", ["/nowhere", "/search/", "/web/nothing.js", "/web/..%2fapp.py", "/web/%00", "/items", "/web"])
def test_an_unknown_address(client, check_problem, path):
    check_problem(client.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/search", "POST"),
        ("PATCH", "/items/a/b", "GET, HEAD, PUT, DELETE"),
        ("POST", "/images/x", "GET, HEAD"),
        ("DELETE", "/livez", "GET, HEAD"),
        ("POST", "/web/app.js", "GET, HEAD"),
        ("OPTIONS", "/search", "POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(client, check_problem, method, path, allowed):
    answer = client.request(method, path)
    check_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


class Failing:
    """An engine of which every part raises."""

    def __init__(self, error):
        self.error = error

    def follow(self):
        return True

    def close(self):
        pass

    def __getattr__(self, name):
        raise self.error


def failing(error, tmp_path):
    return TestClient(create_app(Settings(collection=tmp_path), Failing(error)))


def test_what_nobody_expected_is_logged_with_its_id_and_not_told(tmp_path, check_problem, caplog, picture):
    with failing(RuntimeError("the password is swordfish"), tmp_path) as client:
        for answer in (client.get("/readyz"), client.post("/search", files={"image": picture}), client.get("/images/x")):
            check_problem(answer, 500, "internal")
            assert "swordfish" not in answer.text
            [record] = [record for record in caplog.records if answer.headers["x-request-id"] in record.getMessage()]
            assert "swordfish" in str(record.exc_info[1])


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (CatalogError("/srv/catalog.sqlite cannot be used (disk I/O error)."), 503, "catalog-unavailable"),
        (OSError(28, "No space left on device"), 507, "disk-full"),
        (OSError(5, "Input/output error"), 500, "internal"),
    ],
)
def test_a_broken_disk_has_a_name_and_a_line_in_the_log(tmp_path, check_problem, caplog, error, status, kind):
    with failing(error, tmp_path) as client:
        answer = client.get("/items/x")
        check_problem(answer, status, kind)
        assert str(error) not in answer.text
        assert answer.headers["x-request-id"] in caplog.text


def test_an_answer_that_has_begun_is_cut_off(client):
    @client.app.get("/half")
    async def half():
        from fastapi.responses import StreamingResponse

        async def parts():
            yield b"half"
            raise RuntimeError("gone")

        return StreamingResponse(parts())

    with pytest.raises(RuntimeError, match="gone"):
        client.get("/half")


def test_a_client_that_left_is_no_error(call, client, caplog):
    async def leaving():
        return {"type": "http.disconnect"}

    caplog.set_level(logging.WARNING)
    assert call("POST", "/search", leaving, content_type="image/png") == []
    assert not caplog.records
    assert 'lookalike_requests_total{method="POST",route="/search",status="499"}' in client.get("/metrics").text
