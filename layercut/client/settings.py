"""Where the service is, and who asks."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field

import httpx

import layercut

URL, KEY = "LAYERCUT_URL", "LAYERCUT_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"
CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Place:
    """``key`` is in no text that is made of it."""

    url: httpx.URL
    key: str | None = field(repr=False)

    @classmethod
    def of(cls, url: str | None, api_key: str | None) -> Place:
        """What is None is read from ``LAYERCUT_URL`` and ``LAYERCUT_API_KEY``. Raises ``ValueError``."""
        try:
            found = httpx.URL((url or os.environ.get(URL) or DEFAULT_URL).strip())
        except httpx.InvalidURL as error:
            raise ValueError(f"the service's address is no address: {error}") from None
        if found.scheme not in ("http", "https") or not found.host:
            raise ValueError(f"the service's address is http://… or https://…, not {found.copy_with(userinfo=b'')!s}")
        if found.userinfo:
            raise ValueError("a key has no place in the service's address: give it as api_key, or by LAYERCUT_API_KEY")
        key = (api_key if api_key is not None else os.environ.get(KEY, "")).strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the API key has a character that no key has")
        return cls(found, key or None)

    def options(self, timeout: float) -> dict[str, object]:
        """For ``httpx.Client`` and ``httpx.AsyncClient``; ``timeout`` in seconds, of an answer."""
        headers = {"User-Agent": f"layercut/{layercut.__version__}", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return {
            "base_url": self.url,
            "headers": headers | {"Accept-Encoding": "identity"},
            "timeout": httpx.Timeout(timeout, connect=CONNECT_SECONDS),
            # A proxy of the environment's has no business between two processes of one machine.
            "trust_env": not self._is_here,
        }

    @property
    def _is_here(self) -> bool:
        try:
            return ipaddress.ip_address(self.url.host.strip("[]")).is_loopback
        except ValueError:
            return self.url.host == "localhost"

    def __str__(self) -> str:
        return f"{self.url}{' with a key' if self.key else ''}"
