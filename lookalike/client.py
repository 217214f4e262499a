"""A client of the service, over HTTP: pictures in, hits out. Safe to call from several threads."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from model import Failure


class ServiceError(Failure):
    """The service cannot be reached or refused; the message is its own sentence where it gave one."""


class Client:
    """Use it in a ``with`` block, or ``close`` it. Every method raises ``ServiceError``."""

    def __init__(self, url: str = "http://127.0.0.1:8000", timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._http = httpx.Client(timeout=timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def search(
        self,
        picture: bytes | Path,
        k: int = 10,
        filter: dict[str, Any] | None = None,
        group_by: str | None = None,
        exact: bool = False,
        ef: int | None = None,
    ) -> dict[str, Any]:
        """The answer of ``POST /search``; docs/filters.md has the grammar of filters, docs/search.md says what ``ef`` is.

        Raises ``OSError`` when the file cannot be read.
        """
        data = picture.read_bytes() if isinstance(picture, Path) else picture
        # In the form: a filter may be longer than an address.
        options = _text(filter) | ({} if group_by is None else {"group_by": group_by})
        asked = {"k": k} | ({"exact": True} if exact else {}) | ({} if ef is None else {"ef": ef})
        return self._said(self._sent("POST", "/search", params=asked, files={"image": data}, data=options), "results")

    def facets(self, field: str, limit: int = 20, filter: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of ``GET /facets``: a field's most frequent values, and how many items have each."""
        options = {"field": field, "limit": limit} | _text(filter)
        return self._said(self._sent("GET", "/facets", params=options), "values")

    def item(self, id: str) -> dict[str, Any] | None:
        """The answer of ``GET /items/{id}``; None when there is no such item."""
        answer = self._sent("GET", f"/items/{quote(id)}")
        return None if answer.status_code == 404 else self._said(answer, "id")

    def info(self) -> dict[str, Any]:
        """The answer of ``GET /info``."""
        return self._said(self._sent("GET", "/info"), "limits")

    def _sent(self, method: str, path: str, **content: Any) -> httpx.Response:
        """A busy service is asked again when it says so, until the time-out has passed."""
        until = time.monotonic() + self._timeout
        try:
            while True:
                answer = self._http.request(method, self.url + path, **content)
                pause = _pause(answer)
                if answer.status_code != 429 or time.monotonic() + pause > until:
                    return answer
                time.sleep(pause)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise ServiceError(
                f"No service answers at {self.url} ({reason}). Start one with: lookalike serve COLLECTION"
            ) from error

    def _said(self, answer: httpx.Response, key: str) -> dict[str, Any]:
        wanted = key if answer.is_success else "detail"
        try:
            said = answer.json()
        except ValueError:
            said = None
        if not isinstance(said, dict) or wanted not in said:
            raise ServiceError(f"{answer.url} answered {answer.status_code}; is that a Lookalike service?")
        if not answer.is_success:
            raise ServiceError(said["detail"])
        return said


def _text(filter: dict[str, Any] | None) -> dict[str, str]:
    return {} if filter is None else {"filter": json.dumps(filter)}


def _pause(answer: httpx.Response) -> float:
    """Seconds; a proxy may give a date instead, and then it is one."""
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.isdecimal() else 1.0
