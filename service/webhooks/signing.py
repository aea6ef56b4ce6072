"""Signatures as Standard Webhooks has them, with secrets that are derived and stand nowhere.

A secret is the HMAC-SHA256, under the service's one key, of whose it is and which number it has. So a copy of the
database has none, and a new number is a new secret. Gateways that share a database must share the key.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from standardwebhooks import Webhook

from api_schemas.errors import LayercutError
from service.settings import GatewaySettings
from store.webhooks import SecretRef

#: Of the service's key, in characters.
SHORTEST_KEY = 32


class Signer:
    """The key is read when it is first needed, and made where there is none: most services have no webhooks."""

    def __init__(self, settings: GatewaySettings) -> None:
        if 0 < len(settings.secret_key) < SHORTEST_KEY:
            raise ValueError(f"LAYERCUT_SECRET_KEY must have at least {SHORTEST_KEY} characters")
        self._settings = settings

    @cached_property
    def fingerprint(self) -> str:
        """Tells keys apart, and tells nothing of the key. Raises ``not_ready`` as ``_key`` does."""
        return self._derived("fingerprint").hex()

    def secret(self, ref: SecretRef) -> str:
        """``whsec_…``: the newest that ``ref`` names."""
        return self._secret(ref.id, ref.numbers[0])

    def headers(self, message_id: str, body: str, ref: SecretRef) -> dict[str, str]:
        """Of one attempt, from now: receivers refuse what was signed more than five minutes ago."""
        now = datetime.now(UTC)
        signatures = [Webhook(self._secret(ref.id, number)).sign(message_id, now, body) for number in ref.numbers]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def _secret(self, owner: str, number: int) -> str:
        return f"whsec_{base64.b64encode(self._derived(f'secret {owner} {number}')).decode()}"

    def derived(self, purpose: str) -> bytes:
        """A key for that purpose alone, which tells nothing of the service's. Raises ``not_ready`` as ``_key`` does."""
        return hmac.digest(self._key, f"layercut {purpose}".encode(), hashlib.sha256)

    def _derived(self, what: str) -> bytes:
        return self.derived(f"webhook {what}")

    @cached_property
    def _key(self) -> bytes:
        """Raises ``not_ready`` where it has to be made, and cannot be kept."""
        if self._settings.secret_key:
            return self._settings.secret_key.encode()
        try:
            return _kept_key(self._settings.data_dir / "secret.key")
        except OSError as error:
            text = f"the key for webhooks can be neither read nor kept ({error.strerror}): set LAYERCUT_SECRET_KEY"
            raise LayercutError("not_ready", text) from error


def _kept_key(path: Path) -> bytes:
    """What stands in ``path``; made where nothing does. Of several processes that make one, all get the first's."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    # A link appears whole or not at all, and fails where there is one already.
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(secrets.token_urlsafe(48).encode())
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    return path.read_bytes()
