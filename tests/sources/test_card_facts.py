"""What a source's card says, as far as it can be believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_schemas.cards import CardFacts
from sources.beneath import Folder
from sources.card_facts import card_facts


def read(path: Path, front: str) -> CardFacts:
    (path / "README.md").write_text(f"---\n{front}\n---\n# A model\n", encoding="utf-8")
    return card_facts(Folder(path, path, id="a/b"))


def test_what_the_hub_takes_is_read(tmp_path: Path) -> None:
    said = read(
        tmp_path,
        "language:\n- en\n- no\nlicense: other\nlicense_name: gemma\nlicense_link: LICENSE\n"
        "base_model: nreimers/MiniLM-L6-H384-uncased\ndatasets: [ms_marco, nyu-mll/glue]\n"
        "tags: [feature-extraction, 'arxiv:1904.06472']\npipeline_tag: sentence-similarity\nwidget:\n- text: x\n",
    )
    assert said == CardFacts(
        language=["en", "no"], license="other", license_name="gemma", license_link="LICENSE",
        base_model=["nreimers/MiniLM-L6-H384-uncased"], datasets=["ms_marco", "nyu-mll/glue"],
        tags=["feature-extraction", "arxiv:1904.06472"], pipeline_tag="sentence-similarity",
    )  # fmt: skip


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "front",
    [
        BOMB,
        "[" * 20_000,
        "tags: " + "[" * 20_000,
        "tags: " + "[" * 40,
        "language: " + "- " * 10_000,
        "language: !!python/object/apply:os.system ['touch /tmp/x']",
        "tags: {a: b}\nlanguage: {? [en] : fr}",
        "- language",
        "language: 'en\n",
        "license: '\"><script>'\nlicense_link: 'javascript:alert(1)'\nbase_model: ../../etc/passwd\nlanguage: [[en]]",
        "\x00\x01",
        "<<: {language: en}",
    ],
)
def test_whatever_is_wrong_is_left_out(front: str, tmp_path: Path) -> None:
    assert read(tmp_path, front) == CardFacts()


def test_the_good_ones_of_a_list_are_kept_and_only_so_many(tmp_path: Path) -> None:
    many = ", ".join(f"tag-{number}" for number in range(1000))
    assert read(tmp_path, "language: [en, 'x y z', en, zh-Hant]").language == ["en", "zh-Hant"]
    assert len(read(tmp_path, f"tags: [{many}]").tags) == 100


def test_megabytes_of_results_before_it_hide_nothing(tmp_path: Path) -> None:
    results = "model-index:\n- name: x\n  results:\n" + "  - task:\n      type: Classification\n" * 20_000
    assert read(tmp_path, f"tags:\n- mteb\n{results}language:\n- en\n").language == ["en"]


def test_no_card_says_nothing(tmp_path: Path) -> None:
    assert card_facts(Folder(tmp_path, tmp_path, id="a/b")) == CardFacts()
    (tmp_path / "README.md").write_text("# No front matter\nlanguage: en\n")
    assert card_facts(Folder(tmp_path, tmp_path, id="a/b")) == CardFacts()
