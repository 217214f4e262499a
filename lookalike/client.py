"""A client of the service: picture in, hits out, over HTTP."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from model import Failure


class ServiceError(Failure):
    """The service cannot be reached or refused; the message is its own sentence where it gave one."""


@dataclass(frozen=True)
class Client:
    url: str = "http://127.0.0.1:8000"
    timeout: float = 30.0

    def search(self, picture: bytes | Path, k: int = 10) -> dict[str, Any]:
        """The answer of ``POST /search``. Raises ``ServiceError``, and ``OSError`` when the file cannot be read."""
        data = picture.read_bytes() if isinstance(picture, Path) else picture
        address = f"{self.url.rstrip('/')}/search"
        try:
            answer = httpx.post(address, params={"k": k}, files={"image": data}, timeout=self.timeout)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise ServiceError(
                f"No service answers at {self.url} ({reason}). Start one with: lookalike serve COLLECTION"
            ) from error
        if not answer.is_success:
            raise ServiceError(_said(answer, "detail")["detail"])
        return _said(answer, "results")


def _said(answer: httpx.Response, key: str) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict) or key not in said:
        raise ServiceError(f"{answer.url} answered {answer.status_code}; is that a Lookalike service?")
    return said
