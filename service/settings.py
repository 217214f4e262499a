"""Everything that can be set about the service, in one typed place: options of ``lookalike serve``, or the environment."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field is also an environment variable with the prefix ``LOOKALIKE_``."""

    model_config = SettingsConfigDict(env_prefix="LOOKALIKE_")

    collection: Path = Field(description="folder of the collection")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    runtime: Literal["auto", "openvino", "torch"] = Field("auto", description="what runs the network")
    precision: Literal["f32", "bf16"] | None = Field(None, description="by default that of the collection")
    writes: bool | None = Field(
        None, description="answer PUT and DELETE; by default only where nobody but this machine can ask"
    )
    threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="requests worked on at once")
    queue: int = Field(64, ge=0, description="requests that may wait; more are answered 429")
    max_body_bytes: int = Field(32 * 2**20, ge=1, description="largest request body")
    max_upload_bytes: int = Field(512 * 2**20, ge=1, description="all request bodies in memory together; more are answered 429")
    upload_seconds: float = Field(60, gt=0, description="a request body has to arrive within this time")
    max_pixels: int = Field(80_000_000, ge=1, description="largest picture")
    follow_seconds: float = Field(0.25, gt=0, description="how often changes by other processes are looked for")

    @property
    def may_write(self) -> bool:
        return self.writes if self.writes is not None else _is_loopback(self.host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
