"""Small made-up data of every kind of task."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.support.tiny_models import SENTENCES

WORDS = [word.strip(",") for word in " ".join(SENTENCES).split()]
PLACES, PEOPLE = ("airport", "film", "play"), ("crew", "nobody", "flight")


def sentence(draw: random.Random, *more: str) -> list[str]:
    words = [*draw.sample(WORDS, 5), *more]
    draw.shuffle(words)
    return words


def tagged(path: Path, rows: int = 120) -> Path:
    """Words that are always of one type are entities; some of two words."""
    draw, lines = random.Random(1), []
    plain = [word for word in WORDS if word not in PLACES + PEOPLE]
    for _ in range(rows):
        for word in [*draw.sample(plain, 3), draw.choice(PLACES), *draw.sample(plain, 2), draw.choice(PEOPLE)]:
            lines.append(f"{word} {'B-PLACE' if word in PLACES else 'B-PERSON' if word in PEOPLE else 'O'}")
        lines.append("")
    path.write_text("\n".join(lines) + "\n")
    return path


def with_labels(path: Path, rows: int = 120) -> Path:
    """Labels by the words that are there; some rows have none."""
    draw = random.Random(2)
    plain = [word for word in WORDS if word not in PLACES]
    lines = []
    for _ in range(rows):
        there = draw.sample(PLACES, draw.randint(0, 2))
        words = [*draw.sample(plain, 4), *there]
        draw.shuffle(words)
        lines.append(json.dumps({"text": " ".join(words), "about": sorted(there)}))
    path.write_text("\n".join(lines) + "\n")
    return path


def texts(path: Path, rows: int = 200) -> Path:
    draw = random.Random(3)
    path.write_text("\n".join(" ".join(sentence(draw)) for _ in range(rows)) + "\n")
    return path


def pairs(path: Path, rows: int = 40) -> Path:
    draw = random.Random(4)
    lines = ["sentence1,sentence2,score"]
    lines += [f"{' '.join(sentence(draw))},{' '.join(sentence(draw))},{draw.random() * 5:.2f}" for _ in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path
