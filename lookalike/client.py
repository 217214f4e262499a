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
        """The answer of ``POST /search``. Raises ``ServiceError``."""
        data = picture.read_bytes() if isinstance(picture, Path) else picture
        try:
            answer = httpx.post(f"{self.url}/search", params={"k": k}, files={"image": data}, timeout=self.timeout)
        except httpx.TransportError as error:
            raise ServiceError(
                f"No service answers at {self.url} ({error}). Start one with: lookalike serve COLLECTION"
            ) from error
        if answer.is_error:
            raise ServiceError(_detail(answer))
        return answer.json()


def _detail(answer: httpx.Response) -> str:
    try:
        return answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.url} answered {answer.status_code}; is that a Lookalike service?"
