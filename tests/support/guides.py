"""The code of a guide, as it stands in docs/guides, and a folder as the guides start in."""

from __future__ import annotations

import csv
import os
import re
import sys
from pathlib import Path

from demo.samples import copy_model, write_tweets
from tests.support.serve_process import Served

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs/guides"

#: Of the table: as many as one can wait for.
ROWS = 60

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(guide: str, language: str) -> list[str]:
    """In their order."""
    text = (GUIDES / f"{guide}.md").read_text(encoding="utf-8")
    found = [code for kind, code in _BLOCK.findall(text) if kind == language]
    assert found, f"{guide}.md has no {language}"
    return found


def fill(folder: Path) -> None:
    """With ``reviews.csv`` and ``model/``."""
    copy_model(folder / "model")
    write_tweets(folder / "tweets.csv")
    with (folder / "tweets.csv").open(encoding="utf-8", newline="") as tweets:
        rows = list(csv.DictReader(tweets))[:ROWS]
    (folder / "tweets.csv").unlink()
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((row["text"], row["sentiment"]) for row in rows)])


def environment(served: Served, **more: str) -> dict[str, str]:
    """Of a caller: it knows where the service is, and nothing else of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAYERCUT_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    url = str(served.client.base_url).rstrip("/")
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "LAYERCUT_URL": url, **more}
