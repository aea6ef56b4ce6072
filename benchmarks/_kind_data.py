"""Tables for the kinds that GLUE has none of: label sets of real tweets, and names in made-up sentences."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

DEMO = Path(__file__).parents[1] / "demo"

#: What is in a tweet, beside its sentiment.
MARKS = {"question": "?", "loud": "!", "link": "http", "mention": "@"}

#: What the same names stand for: by what is said about them alone.
CLAUSES: dict[str, tuple[str, ...]] = {
    "PERSON": (
        "{} said that the talks would go on",
        "reporters asked {} about the vote",
        "{} , who is 47 , scored twice in the second half",
        "the judge told {} to answer",
        "her brother {} wrote the letter",
        "according to {} nobody was hurt",
    ),
    "PLACE": (
        "heavy rain fell in {} on Monday",
        "the train from {} was late",
        "thousands of people left {} after the flood",
        "the mayor of {} opened the bridge",
        "they moved to {} last year",
        "{} has two million inhabitants",
    ),
    "COMPANY": (
        "shares of {} fell by four percent",
        "{} will cut six hundred jobs",
        "the lawsuit against {} was dismissed",
        "{} reported a profit for the first quarter",
        "she joined {} as chief accountant",
        "customers of {} waited for their money",
    ),
    "": (
        "the recipe asks for a spoon of {}",
        "in the old dialect {} means thunder",
        "the storm was given the name {}",
    ),
}
JOINTS = ("and", "while", "but", "after")
SYLLABLES = ("bel", "mor", "ta", "rin", "ok", "vale", "sen", "du", "har", "lin", "po", "gar", "tes", "ny", "mar", "col")


def tweets(folder: Path) -> Path:
    """The demo's."""
    path = folder / "tweets.csv"
    subprocess.run([sys.executable, "samples.py", str(path)], cwd=DEMO, check=True, stdout=subprocess.DEVNULL)
    return path


def texts(path: Path, tweets: Path) -> Path:
    """One a line."""
    path.write_text("".join(" ".join(row["text"].split()) + "\n" for row in _rows(tweets)), encoding="utf-8")
    return path


def label_sets(path: Path, tweets: Path, of: slice = slice(None)) -> Path:
    """The sentiment of each tweet, which somebody gave it, and which marks are in it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = ((row["text"], _labels(row)) for row in _rows(tweets)[of])
        csv.writer(file).writerows([("text", "labels"), *rows])
    return path


def names(path: Path, rows: int, seed: int = 11) -> Path:
    """Tags for names of one to three words, most of which are in one sentence alone. The same ones are persons, places,
    companies or none of these."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            words, tags = zip(*_sentence(draw), strict=True)
            file.write(json.dumps({"text": words, "tags": tags}) + "\n")
    return path


def _sentence(draw: random.Random) -> Iterator[tuple[str, str]]:
    kinds = draw.choices(list(CLAUSES), weights=(3, 3, 3, 1), k=draw.randint(1, 3))
    yield from _clause(draw, kinds[0])
    for _, kind in pairwise(kinds):
        yield draw.choice(JOINTS), "O"
        yield from _clause(draw, kind)


def _clause(draw: random.Random, kind: str) -> Iterator[tuple[str, str]]:
    for word in draw.choice(CLAUSES[kind]).split():
        if word != "{}":
            yield word, "O"
            continue
        for at in range(draw.choice((1, 1, 2, 3))):
            name = "".join(draw.choices(SYLLABLES, k=draw.randint(2, 3))).capitalize()
            yield name, f"{'I' if at else 'B'}-{kind}" if kind else "O"


def _labels(row: dict[str, str]) -> str:
    return ",".join([row["sentiment"], *(name for name, mark in MARKS.items() if mark in row["text"])])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
