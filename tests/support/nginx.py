"""A real nginx on a free port of 127.0.0.1, with locations of a test's own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.gateway_process import free_port
from tests.support.processes import eventually

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

CONFIG = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; {locations} }}
}}
"""


@contextmanager
def nginx_server(folder: Path, locations: str, probe: str = "/healthz") -> Iterator[str]:
    """Its address, once it answers ``probe``; skips where there is no nginx."""
    if NGINX is None:
        pytest.skip("needs nginx: apt-get install nginx")
    port, folder = free_port(), folder / "nginx"
    folder.mkdir()
    config, url = folder / "nginx.conf", f"http://127.0.0.1:{port}"
    config.write_text(CONFIG.format(folder=folder, port=port, locations=locations))
    with subprocess.Popen([NGINX, "-c", config, "-e", folder / "error.log"]) as process:
        try:
            eventually(lambda: (folder / "nginx.pid").exists() and _answers(url + probe))
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False
