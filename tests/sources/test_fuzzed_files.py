"""Whatever is in the files of a model or a table: it is accepted, or refused with a reason, within a second."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.hostile_files import changed, model_files, read_model, read_table, special, table_file, write_files

SEEDS = st.integers(0, 2**32)


@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_a_changed_model_is_accepted_or_refused(seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        files = changed(model_files(draw), draw)
        write_files(Path(folder), files)
        if draw.random() < 0.1:
            special(Path(folder) / draw.choice(sorted(files)), draw)
        started = time.process_time()
        assert read_model(Path(folder))
        assert time.process_time() - started < 1


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_a_changed_table_is_accepted_or_refused(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        name, content = table_file(random.Random(seed))
        (Path(folder) / name).write_bytes(content)
        started = time.process_time()
        assert read_table(Path(folder) / name)
        assert time.process_time() - started < 1
