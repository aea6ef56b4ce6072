"""docs/hub-protocol.md, typed from top to bottom."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_schemas.requests import JobRequest
from tests.support.hub_gateway import Client, hub_gateway, write_model
from tests.support.hub_writes import PushableHub, user

PAGE = (Path(__file__).parents[3] / "docs" / "hub-protocol.md").read_text()


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    for found in re.finditer(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL):
        if found[1] in languages:
            yield found[1], found[2]


def script(values: dict[str, str]) -> str:
    """All commands and programs of the page in one shell, with ``values`` for what is the reader's own."""
    lines = ["set -e"]
    for language, text in blocks("bash", "python"):
        lines.append(text if language == "bash" else f"python - <<'END'\n{text}END")
    typed = "\n".join(lines)
    for placeholder, value in values.items():
        assert placeholder in typed
        typed = typed.replace(placeholder, value)
    return typed


@pytest.mark.slow
@pytest.mark.long
def test_the_page_can_be_typed(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    with hub_gateway(tmp_path / "service") as gateway, PushableHub() as hub:
        hub.users["hf_right"] = user("somebody", orgs={"acme": "write"})
        model = write_model(tmp_path / "model")
        job_id = gateway.deliver(model)
        client = Client(tmp_path / "home", "")
        own = {"http://127.0.0.1:8000": gateway.url, "lc_...": gateway.key, "job_...": job_id}
        told = client.run(
            "bash", "-c", script(own), cwd=tmp_path, PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin",
            HUB=hub.url, HUB_TOKEN="hf_right", HF_HUB_DISABLE_XET="1",
        )  # fmt: skip
        assert "feature-extraction" in told
        assert "(384,)" in told
        assert (tmp_path / "config.json").read_bytes() == (model / "config.json").read_bytes()
        files = {path.relative_to(model).as_posix(): path.read_bytes() for path in model.rglob("*") if path.is_file()}
        assert hub.files("acme/small-bert") == files


def test_what_it_says_of_the_defaults_is_so() -> None:
    ((_, text),) = blocks("json")
    asked = JobRequest.model_validate(json.loads(text))
    least = {**json.loads(text), "export": {"push_to": {"repo": "acme/small-bert"}}}
    assert asked.export == JobRequest.model_validate(least).export
