"""Security headers of every answer, and a docs page that needs nobody else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/v1/strategies", "/nowhere", "/openapi.json", "/docs"])
def test_every_answer_has_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert len(headers.get_list("Content-Security-Policy")) == 1


def test_what_a_job_says_is_not_kept_and_its_files_are_asked_for_again(client: TestClient, finished: str) -> None:
    assert client.get(f"/v1/jobs/{finished}").headers["Cache-Control"] == "no-store"
    file = client.get(f"/v1/jobs/{finished}/files/model.safetensors").headers
    assert file["Cache-Control"] == "private, no-cache"  # a job that is tried again may deliver others
    assert file["Content-Disposition"].startswith("attachment")
    assert file["X-Content-Type-Options"] == "nosniff"


def test_the_docs_page_loads_everything_from_here(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    found = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(found) == 4
    assert all(address.startswith("/docs/") for address in found)
    kinds = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
    for address in found:
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(kinds[Path(address).suffix])


def test_the_docs_page_has_no_script_of_its_own(client: TestClient) -> None:
    page = client.get("/docs")
    assert re.findall(r"<script[^>]*>(.*?)</script>", page.text, re.DOTALL) == ["", ""]
    scripts = re.search(r"script-src ([^;]*)", page.headers["Content-Security-Policy"])
    assert scripts
    assert scripts[1] == "'self'"
    assert "/openapi.json" in client.get("/docs/start.js").text


@pytest.mark.parametrize("name", ["redoc.standalone.js", "../core.py", "..%2fcore.py", "%00", "x"])
def test_nothing_else_of_the_package_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/docs/{name}").status_code in (400, 404)
    assert client.get("/redoc").status_code == 404
