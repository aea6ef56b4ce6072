"""Tags stand on the first token of each word, and entities are those that seqeval counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from seqeval import metrics as seqeval
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from sources.cached_files import Unusable
from sources.rows import RaggedLabels, Rows, zeros
from tests.support.tiny_models import build, tiny_tokenizer
from tests.support.trainings import CPU, RECOVERY
from workers.data.batches import collate
from workers.data.features import NO_TAG, UNKNOWN, Features, LabelShape, Padding, encode, encode_into, load_features
from workers.evaluation import metrics
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.scores import answers_of
from workers.kinds.table import plain_kind
from workers.training.objectives.losses import StudentOutput, distillation_objective, label_objective
from workers.training.objectives.teacher import known_targets

TAGS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
NER = plain_kind("token-classification", TAGS)
SENTENCES = [
    ("Unbelievably", "lovely", "films"),
    ("a",),
    ("the", "plot", "makes", "incomprehensibly", "no", "sense", "at", "all"),
    ("wit", "and", "warmth"),
]
LABELS = MetricLabels(TAGS)
OF_SEQEVAL = {
    "entity_f1": seqeval.f1_score, "entity_precision": seqeval.precision_score, "entity_recall": seqeval.recall_score,
}  # fmt: skip


def tagged(sentences: list[tuple[str, ...]] = SENTENCES) -> Rows:
    """The words' tags are 0, 1, 2, … of TAGS, and again."""
    tags = RaggedLabels([at % len(TAGS) for at in range(len(words))] for words in sentences)
    return Rows(sentences, tags, "made", "0" * 64)


def tokens_of(lengths: np.ndarray, labels: np.ndarray) -> Features:
    """Rows of as many tokens, with these labels."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.zeros(len(labels), dtype=np.int32)
    return Features(ids, None, offsets, labels, Padding(0, 0, left=False), per_token=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("metric", OF_SEQEVAL)
def test_entities_are_those_of_seqeval(metric: str, seed: int) -> None:
    """Tags in any order, broken ones too, with tokens between them that have none."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 12, 60)
    gold = draw.integers(0, len(TAGS), lengths.sum())
    guess = np.where(draw.random(len(gold)) < 0.6, gold, draw.integers(0, len(TAGS), len(gold)))
    tagged = draw.random(len(gold)) < 0.8
    features = tokens_of(lengths, np.where(tagged, gold, NO_TAG))

    rows = [np.arange(start, end) for start, end in zip(features.offsets[:-1], features.offsets[1:], strict=True)]
    true, given = ([[TAGS[ids[at]] for at in row if tagged[at]] for row in rows] for ids in (gold, guess))
    judged = NER.judged(metric, np.eye(len(TAGS))[guess], features, None)
    found = metrics.score((metric,), *judged, MetricLabels(TAGS))
    assert found.values[metric] == pytest.approx(100 * OF_SEQEVAL[metric](true, given))
    assert judged[0].tolist() == [len(seqeval.sequence_labeling.get_entities(tags)) for tags in true]


def test_without_entities_there_is_no_score_and_a_reason() -> None:
    features = tokens_of(np.array([2, 1]), np.array([4, NO_TAG, 4]))
    judged = NER.judged("entity_f1", np.eye(len(TAGS))[[4, 0, 4]], features, None)
    found = metrics.score(tuple(OF_SEQEVAL), *judged, MetricLabels(TAGS))
    assert set(found.values.values()) == {None}
    assert found.undefined["entity_precision"] == "the model finds no entity"


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "xlnet", "electra"])
def test_the_first_token_of_a_word_has_its_tag_and_no_other(architecture: str) -> None:
    tokenizer, rows = tiny_tokenizer(architecture), tagged()
    features = encode(tokenizer, rows, 64, NER.shape)
    assert features.fits_together
    assert features.per_token
    assert (features.labels == NO_TAG).sum() > 3 * len(SENTENCES), "words of several tokens"
    for row, (words, tags) in enumerate(zip(SENTENCES, rows.labels, strict=True)):
        ids, labels = (
            each[features.offsets[row] : features.offsets[row + 1]] for each in (features.ids, features.labels)
        )
        pieces = [tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"] for word in words]
        wanted = [tag for piece, one in zip(pieces, tags, strict=True) for tag in [one, *[NO_TAG] * (len(piece) - 1)]]
        special = np.isin(ids, tokenizer.all_special_ids)
        special &= ids != tokenizer.unk_token_id
        assert ids[~special].tolist() == [id for piece in pieces for id in piece]
        assert labels[~special].tolist() == wanted
        assert set(labels[special]) == {NO_TAG}


def test_words_that_were_cut_have_no_tag_and_count_as_missed() -> None:
    features = encode(tiny_tokenizer("bert"), tagged(), 6, NER.shape)
    assert features.lengths.max() == 6
    assert features.fits_together
    whole = encode(tiny_tokenizer("bert"), tagged(), 64, NER.shape)
    for row in range(len(SENTENCES)):
        cut, plain = features.take(np.array([row])), whole.take(np.array([row]))
        inside = len(cut.ids) - 1  # the last token ends the text
        assert cut.labels[:inside].tolist() == plain.labels[:inside].tolist()
        assert cut.labels[inside] == NO_TAG
    judged, _ = NER.judged("entity_f1", np.eye(len(TAGS))[np.maximum(features.labels, 0)], features, None)
    every, _ = NER.judged("entity_f1", np.eye(len(TAGS))[np.maximum(whole.labels, 0)], whole, None)
    assert judged.tolist() == every.tolist(), "as many entities as there are"
    found = metrics.score(("entity_recall",), *NER.judged("entity_recall", _right(features), features, None), LABELS)
    assert found.values["entity_recall"] < 100


def _right(features: Features) -> np.ndarray:
    return np.eye(len(TAGS))[np.maximum(features.labels, 0)]


@pytest.mark.parametrize("max_length", [6, 9, 64])
def test_recall_is_of_the_whole_sentence_as_seqeval_counts_it(max_length: int) -> None:
    """Words beyond the length, and words that are nothing to the tokenizer, are answered with nothing."""
    draw = np.random.default_rng(max_length)
    sentences = [tuple(draw.choice(["films", "wit", "\u200b", "a"], draw.integers(1, 12))) for _ in range(40)]
    rows = tagged(sentences)
    features = encode(tiny_tokenizer("bert"), rows, max_length, NER.shape)
    features = features.take(np.arange(20)).joined(features.take(np.arange(20, 40)))
    assert len(features.lost)
    assert features.fits_together
    true, given = [[TAGS[id] for id in tags] for tags in rows.labels], []
    for row, tags in enumerate(true):
        gone = set(features.lost_of(row)[:, 0].tolist())
        given.append(["O" if at in gone else tag for at, tag in enumerate(tags)])
    for metric, theirs in OF_SEQEVAL.items():
        found = metrics.score((metric,), *NER.judged(metric, _right(features), features, None), LABELS)
        assert found.values[metric] == pytest.approx(100 * theirs(true, given))


def test_what_was_lost_is_read_again(tmp_path: Path) -> None:
    encode_into(tiny_tokenizer("bert"), tagged(), 6, tmp_path, shape=NER.shape)
    whole, found = encode(tiny_tokenizer("bert"), tagged(), 6, NER.shape), load_features(tmp_path, NER.shape)
    assert np.array_equal(found.lost, whole.lost)
    for wrong in ([[9, 0, 0]], [[0, 3, 0]], [[0, 0, 0], [0, 0, 0]], [[0, -1, 0]]):
        np.save(tmp_path / "lost.npy", np.array(wrong))
        with pytest.raises(Unusable):
            load_features(tmp_path, NER.shape)


def test_text_without_tags_still_says_where_words_begin() -> None:
    features = encode(tiny_tokenizer("bert"), tagged(), 64, NER.shape)
    bare = encode(tiny_tokenizer("bert"), Rows(SENTENCES, zeros(4), "made", "0" * 64), 64, NER.shape, labelled=False)
    assert set(bare.labels) == {NO_TAG, UNKNOWN}
    assert np.array_equal(bare.labels == NO_TAG, features.labels == NO_TAG)


def test_answers_are_of_tokens_in_their_order_whatever_the_padding() -> None:
    model = build("bert", head="token_classification", layers=2, labels=len(TAGS))
    features = encode(tiny_tokenizer("bert"), tagged(), 64, NER.shape)
    found = answers_of(NER, model, features, CPU)
    assert found.shape == (len(features.ids), len(TAGS))
    for row in range(len(features)):
        alone = collate(features, np.array([row]), CPU)
        with torch.inference_mode():
            wanted = model(**alone).logits[0][: features.lengths[row]]
        np.testing.assert_allclose(found[features.offsets[row] : features.offsets[row + 1]], wanted, atol=1e-5)


@pytest.mark.parametrize("label_weight", [None, 0.0, 0.5])
def test_a_batch_that_is_cut_has_the_same_loss(label_weight: float | None) -> None:
    """Rows have one word to eight: a mean of means would be another number. None: learnt from the labels alone."""
    features = encode(tiny_tokenizer("bert"), tagged(), 64, NER.shape)
    draw = torch.Generator().manual_seed(0)
    values, aim = (torch.randn(len(features.ids), len(TAGS), generator=draw) for _ in range(2))
    objective = label_objective(NER, features, CPU)
    if label_weight is not None:
        recovery = RECOVERY.model_copy(update={"label_weight": label_weight, "method": "distill"})
        targets = known_targets(aim.numpy(), features, CPU)
        objective = distillation_objective(NER, targets, [], features, recovery, device=CPU)

    def loss(rows: list[int]) -> float:
        at = np.array(rows)
        return objective.loss(StudentOutput({}, values[features.places(at)], ()), at).item() * len(rows)

    assert loss([0, 1, 2, 3]) == pytest.approx(loss([2]) + loss([1, 3]) + loss([0]), rel=1e-5)
    answered = torch.from_numpy(features.labels != NO_TAG)
    if label_weight is None:
        gold = torch.from_numpy(features.labels)
        assert loss([0, 1, 2, 3]) / 4 == pytest.approx(
            NER.label_loss(values[answered], gold[answered]).item(), rel=1e-5
        )
    if label_weight == 0:
        wanted = NER.teacher_loss(values[answered], aim[answered], RECOVERY).item()
        assert loss([0, 1, 2, 3]) / 4 == pytest.approx(wanted, rel=1e-5)


def test_distances_are_the_mean_over_a_rows_words() -> None:
    features = tokens_of(np.array([3, 1, 2]), np.array([NO_TAG, 1, 2, NO_TAG, 3, NO_TAG]))
    ours, theirs = np.log([[0.5, 0.5]] * 6).astype(np.float32), np.log([[0.25, 0.75]] * 6).astype(np.float32)
    theirs[2] = ours[2]
    far = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert NER.distances(ours, theirs, features) == pytest.approx([far / 2, 0, far])


def test_words_are_tokenized_as_they_stand_in_a_text() -> None:
    """Byte-level tokenizers write the blank before a word into its first token."""
    for architecture in ("bert", "roberta", "gpt2", "xlnet"):
        tokenizer = tiny_tokenizer(architecture)
        words = ("the", "film", "was", "lovely")
        rows = Rows([words], [(0, 0, 0, 0)], "made", "0" * 64)
        ids = encode(tokenizer, rows, 32, LabelShape("tags")).ids
        assert ids.tolist() == tokenizer(" ".join(words))["input_ids"], architecture


def test_a_word_that_its_tokenizer_puts_a_blank_before_gets_no_second() -> None:
    """As Llama's and Mistral's older files do, by their normalizer."""
    words = ("the", "film", "was", "lovely")
    known = ["<unk>", "\u2581", *(f"\u2581{word}" for word in words), *"aeflmohitsvwy"]
    raw = Tokenizer(models.Unigram([(piece, -1.0 if len(piece) > 1 else -9.0) for piece in known], unk_id=0))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    rows = Rows([words], [(0, 0, 0, 0)], "made", "0" * 64)
    ids = encode(tokenizer, rows, 32, LabelShape("tags")).ids
    assert tokenizer.convert_ids_to_tokens(ids) == [f"\u2581{word}" for word in words]
