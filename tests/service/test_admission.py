import asyncio
import threading

import pytest
from starlette.requests import ClientDisconnect, Request

from service.admission import Admission, Uploads
from service.errors import Problem
from service.telemetry import Metrics


def request(*parts, then=None, **headers):
    """A request whose body arrives in `parts`; after the last one it ends, or `then` decides what arrives."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]

    async def receive():
        if messages:
            return messages.pop(0)
        return await then() if then else {"type": "http.request", "body": b"", "more_body": False}

    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": lines}, receive)


async def silence():
    await asyncio.Event().wait()


async def leaving():
    return {"type": "http.disconnect"}


@pytest.fixture
def one():
    """One thread, one place to wait."""
    admission = Admission(1, 1, Metrics())
    yield admission
    admission.close()


async def refused(call, status):
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.status == status
    return caught.value


def test_who_finds_no_place_is_told_to_come_again(one):
    async def scene():
        held = threading.Event()
        working = asyncio.create_task(one.work(request(then=silence), held.wait))
        waiting = asyncio.create_task(one.work(request(then=silence), lambda: "done"))
        await asyncio.sleep(0.01)
        problem = await refused(one.work(request(then=silence), lambda: "never"), 429)
        assert problem.headers == {"Retry-After": "1"}
        with pytest.raises(Problem):
            one.check()
        held.set()
        assert await waiting == "done"
        assert await working
        one.check()
        assert await one.work(request(then=silence), lambda: "done") == "done"

    asyncio.run(scene())


def test_nothing_is_done_for_a_client_that_left_while_it_waited(one):
    async def scene():
        held, gone, done = threading.Event(), asyncio.Event(), []

        async def until_gone():
            await gone.wait()
            return {"type": "http.disconnect"}

        working = asyncio.create_task(one.work(request(then=silence), held.wait))
        left = asyncio.create_task(one.work(request(then=until_gone), lambda: done.append("left")))
        await asyncio.sleep(0.01)
        gone.set()
        held.set()
        await working
        with pytest.raises(ClientDisconnect):
            await left
        await one.work(request(then=silence), lambda: done.append("stayed"))
        assert done == ["stayed"]

    asyncio.run(scene())


def test_what_failed_gives_its_place_back(one):
    async def scene():
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                await one.work(request(then=silence), lambda: 1 / 0)

    asyncio.run(scene())


def test_a_body_comes_whole_and_its_bytes_count_until_the_block_ends():
    uploads = Uploads(limit=10, budget=15, seconds=10)

    async def read(*parts):
        async with uploads.body(request(*parts)) as data:
            return data

    async def scene():
        assert await read() == b""
        assert await read(b"01234", b"", b"56789") == b"0123456789"
        async with uploads.body(request(b"0123456789")):
            assert await read(b"01234") == b"01234"
            await refused(read(b"01234", b"5"), 429)
            assert await read(b"01234") == b"01234"
        assert await read(b"0123456789") == b"0123456789"

    asyncio.run(scene())


@pytest.mark.parametrize(
    "asked",
    [request(b"01234", b"567890", then=silence), request(then=silence, content_length="11")],
    ids=["found out while it arrives", "announced"],
)
def test_a_body_that_is_too_large_is_not_read_to_its_end(asked):
    uploads = Uploads(limit=10, budget=100, seconds=10)

    async def scene():
        await refused(uploads.body(asked).__aenter__(), 413)
        assert uploads._held == 0

    asyncio.run(scene())


def test_who_stops_sending_is_let_go_with_all_that_it_held():
    uploads = Uploads(limit=10, budget=10, seconds=0.02)

    async def scene():
        problem = await refused(uploads.body(request(b"0123456789", then=silence)).__aenter__(), 408)
        assert problem.headers == {"Connection": "close"}
        with pytest.raises(ClientDisconnect):
            await uploads.body(request(b"0123456789", then=leaving)).__aenter__()
        async with uploads.body(request(b"0123456789")) as data:
            assert data == b"0123456789"

    asyncio.run(scene())


def test_a_thousand_slow_senders_take_no_place_from_a_search(client, picture):
    """Far more than there are places: each has sent a little and goes on sending, some day."""

    async def scene():
        async def sink(_):
            pass

        async def slow():
            scope = {"type": "http", "method": "POST", "path": "/search", "query_string": b"", "root_path": ""}
            scope["headers"] = [(b"content-type", b"image/png")]
            await client.app(scope, request(picture[:100], then=silence)._receive, sink)

        senders = [asyncio.create_task(slow()) for _ in range(1000)]
        await asyncio.sleep(0)
        return senders

    async def stop(senders):
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)

    senders = client.portal.call(scene)
    try:
        assert client.post("/search", files={"image": picture}).status_code == 200
        assert not any(sender.done() for sender in senders)
    finally:
        client.portal.call(stop, senders)


def test_a_busy_server_says_so_before_it_reads_a_body(call, client):
    async def receive():
        raise AssertionError("the body was read")

    searches = client.app.state.context.searches
    free, searches._free = searches._free, 0
    try:
        begin, _ = call("POST", "/search", receive, content_type="image/png")
    finally:
        searches._free = free
    assert begin["status"] == 429
    assert (b"retry-after", b"1") in begin["headers"]
