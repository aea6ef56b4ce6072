"""Batches: every row once an epoch, little padding, masks where the tokens are."""

import numpy as np
import pytest
import torch

from workers.data.batches import collate, inference_batches, training_batches
from workers.data.features import Features, Padding

CPU = torch.device("cpu")


def features(lengths: list[int], *, left: bool = False, types: bool = True) -> Features:
    total = sum(lengths)
    return Features(
        ids=np.arange(1, total + 1, dtype=np.int32),
        types=np.ones(total, dtype=np.int8) if types else None,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=np.arange(len(lengths)),
        padding=Padding(token=0, token_type=3, left=left),
    )


@pytest.fixture
def ragged() -> Features:
    return features(np.random.default_rng(0).integers(3, 90, 1000).tolist())


def test_an_epoch_has_every_row_once(ragged: Features) -> None:
    batches = training_batches(ragged, 32, seed=1, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert sorted(len(batch) for batch in batches)[1:] == [32] * (len(batches) - 1)


def test_epochs_and_seeds_differ_and_repeat(ragged: Features) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(training_batches(ragged, 32, seed=seed, epoch=epoch)).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_rows_of_like_length_go_together(ragged: Features) -> None:
    padded = sum(
        len(batch) * int(ragged.lengths[batch].max()) for batch in training_batches(ragged, 32, seed=1, epoch=0)
    )
    assert padded / ragged.lengths.sum() < 1.1


def test_scoring_batches_have_every_row_once_within_the_budget(ragged: Features) -> None:
    batches = inference_batches(ragged, tokens=512)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert all(len(batch) * -(-int(ragged.lengths[batch].max()) // 8) * 8 <= 512 for batch in batches)


def test_scored_rows_are_not_padded_to_the_longest_of_all() -> None:
    """Most texts are short: one batch of all would be mostly padding, as the budget alone lets few rows be one."""
    skewed = features([10] * 300 + [20] * 80 + [50] * 20)
    padded = sum(len(batch) * int(skewed.lengths[batch].max()) for batch in inference_batches(skewed))
    assert padded == skewed.lengths.sum()


def test_a_few_rows_are_scored_together_whatever_their_lengths() -> None:
    assert len(inference_batches(features([3, 10, 20, 30]))) == 1


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    assert [batch.tolist() for batch in inference_batches(features([5, 50]), tokens=16)] == [[0], [1]]


@pytest.mark.parametrize("left", [False, True])
def test_collate_pads_on_the_tokenizers_side(left: bool) -> None:
    inputs = collate(features([3, 1], left=left), np.array([1, 0]), CPU)
    ids, mask, types = (inputs[name].tolist() for name in ("input_ids", "attention_mask", "token_type_ids"))
    tokens = [[4], [1, 2, 3]]
    for row, wanted in enumerate(tokens):
        gap = 8 - len(wanted)
        at = slice(gap, None) if left else slice(0, len(wanted))
        assert ids[row][at] == wanted
        assert mask[row][at] == [1] * len(wanted)
        assert types[row][at] == [1] * len(wanted)
        assert sum(mask[row]) == len(wanted)
        assert ids[row].count(0) == gap
        assert types[row].count(3) == gap


def test_a_model_without_token_types_gets_none() -> None:
    assert set(collate(features([2], types=False), np.array([0]), CPU)) == {"input_ids", "attention_mask"}


def test_take_keeps_rows_whole_and_in_order() -> None:
    taken = features([2, 3, 1]).take(np.array([2, 0]))
    assert taken.ids.tolist() == [6, 1, 2]
    assert taken.lengths.tolist() == [1, 2]
    assert taken.labels.tolist() == [2, 0]
