"""What a runner says and leaves is taken with suspicion: paths, links, notes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from workers.supervision.hidden_paths import PathHider
from workers.supervision.memory_notes import lend_notes, take_notes


def test_folders_of_the_host_are_left_out_of_what_is_told(tmp_path: Path) -> None:
    hide = PathHider(tmp_path / "runner-abc")
    library = Path(os.__file__)

    assert hide(f"cannot read {tmp_path}/runner-abc/inputs/model/x.json") == "cannot read inputs/model/x.json"
    assert hide(f'File "{library}", line 3') == 'File "os.py", line 3'
    assert sys.prefix not in hide(f"{sys.prefix}/lib/python3/site-packages/torch/nn.py")
    assert hide("/models/bert is the user's own") == "/models/bert is the user's own"


def test_notes_on_memory_go_from_one_runner_to_the_next(tmp_path: Path) -> None:
    known, first, second = tmp_path / "micro_batches.json", tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (first / known.name).write_text(json.dumps({"bert": {"rows": 16, "at": 1.0}}))

    take_notes(known, first)
    lend_notes(known, second)

    assert json.loads((second / known.name).read_text()) == {"bert": {"rows": 16, "at": 1.0}}


def test_notes_that_are_none_and_links_change_nothing(tmp_path: Path) -> None:
    known = tmp_path / "micro_batches.json"
    known.write_text(json.dumps({"bert": {"rows": 16, "at": 1.0}}))
    for number, text in enumerate(["[", '{"bert": {"rows": -1, "at": 2}}', '{"x": {"rows": 1}}', "a" * 10**6]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / known.name).write_text(text)
        take_notes(known, folder)
    led = tmp_path / "led"
    led.mkdir()
    (tmp_path / "secret").write_text('{"secret": {"rows": 1, "at": 3.0}}')
    (led / known.name).symlink_to(tmp_path / "secret")
    take_notes(known, led)

    assert json.loads(known.read_text()) == {"bert": {"rows": 16, "at": 1.0}}
