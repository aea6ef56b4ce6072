"""What a runner must be able to do, locked in: libraries, threads, children, temporary files, mapped weights."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.confined import Confined
from workers.descriptors import send_descriptors

PROGRAM = """
import json, os, subprocess, tempfile, time
from pathlib import Path
import numpy, torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
scratch = Path(sys.argv[1])
print("matmul:", float((torch.ones(300, 300) @ torch.ones(300, 300)).sum()))
model = torch.nn.Linear(64, 64)
model(torch.ones(32, 64)).sum().backward()
print("backward:", model.weight.grad.shape[0])
with safe_open(scratch / "inputs" / "model.safetensors", "pt") as file:
    print("mapped:", float(file.get_tensor("weight").sum()))
save_file({"weight": torch.ones(8)}, scratch / "out" / "model.safetensors")
os.chmod(scratch / "out" / "model.safetensors", 0o644)
print("saved:", float(load_file(scratch / "out" / "model.safetensors")["weight"].sum()))
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "x").write_text("x")
    os.replace(Path(folder, "x"), scratch / "out" / "moved")
    print("temporary:", Path(folder).is_relative_to(scratch))
done = subprocess.run([sys.executable, "-I", "-c", "import torch; print(int(torch.ones(3).sum()))"],
                      capture_output=True, text=True)
print("child:", done.stdout.strip() or done.stderr)
try:
    subprocess.run(["sleep", "1"], timeout=0.1)
except subprocess.TimeoutExpired:
    print("a child that takes too long: True")
except PermissionError:  # only it can end itself
    print("a child that takes too long: False")
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.train_from_iterator(["one two three"] * 500, trainers.BpeTrainer(vocab_size=60, show_progress=False))
print("tokenizer:", len(tokenizer.encode_batch(["one two"] * 500)))
tried("environment", lambda: {"HF_TOKEN", "HTTPS_PROXY"} & set(os.environ))
"""


@pytest.mark.parametrize("older", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_torch_safetensors_tokenizers_children_and_temporary_files_work(
    older: bool, confined: Confined, monkeypatch: pytest.MonkeyPatch
) -> None:
    if older:  # a kernel whose Landlock does not judge signals: the filter does, by the number of the process
        monkeypatch.setattr("workers.sandbox.sandbox.scopes_signals", lambda: False)
    save_file({"weight": torch.ones(1000)}, confined.folder / "inputs" / "model.safetensors")
    assert confined.outcomes(PROGRAM, confined.folder) == {
        "matmul": "27000000.0",
        "backward": "64",
        "mapped": "1000.0",
        "saved": "8.0",
        "temporary": "True",
        "child": "3",
        "a child that takes too long": str(not older),
        "tokenizer": "500",
        "environment": "got set()",
    }


BOUND = """
import torch
torch.set_num_threads(2)
print("sum:", float((torch.ones(2000, 2000) * 2).sum()))
"""


def test_threads_start_also_where_a_worker_is_told_to_bind_them(
    confined: Confined, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"OMP_PROC_BIND": "true", "OMP_NUM_THREADS": "2", "GOMP_CPU_AFFINITY": "0-1"}.items():
        monkeypatch.setenv(name, value)
    assert confined.outcomes(BOUND) == {"sum": "8000000.0"}


HANDED_OVER = """
import json, threading
from workers.descriptors import receive_descriptors
from workers.sandbox.landlock import lock_in
tried("secret, before", lambda: open(sys.argv[3] + "/secret").read())
(given,) = receive_descriptors(int(sys.argv[1]), 1)
lock_in(json.loads(sys.argv[2]) | {"open_files": [given]})
tried("given, opened again", lambda: open(f"/proc/self/fd/{given}").read())
tried("by its name", lambda: open(sys.argv[3] + "/given").read())
tried("secret", lambda: open(sys.argv[3] + "/secret").read())
tried("linked later", lambda: open(sys.argv[4] + "/linked").read())
tried("its folder", lambda: os.listdir(sys.argv[3]))
"""


def test_a_file_that_is_handed_over_is_opened_again_and_nothing_beside_it(confined: Confined, tmp_path: Path) -> None:
    for name in ("given", "linked", "secret"):
        (tmp_path / name).write_text(name)
    files = confined.sandbox.files_of(confined.folder)
    assert files is not None
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "given").open() as given:
        os.link(tmp_path / "linked", confined.folder / "shared" / "linked")
        send_descriptors(ours, [given.fileno()])
        said = confined.outcomes(
            HANDED_OVER, theirs.fileno(), files.model_dump_json(), tmp_path, confined.folder / "shared",
            descriptors=[theirs.fileno()], at_once=False,
        )  # fmt: skip
    assert said.pop("secret").startswith("refused")
    assert said.pop("its folder").startswith("refused")
    assert said == {
        "secret, before": "got 'secret'",
        "given, opened again": "got 'given'",
        "by its name": "got 'given'",  # it is the file that is allowed, by whichever name
        "linked later": "got 'linked'",
    }


TOO_LATE = """
import json, threading
from workers.sandbox.landlock import lock_in
threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    lock_in(json.loads(sys.argv[1]))
except RuntimeError as error:
    print(f"locking in: {error}")
"""


def test_a_process_with_more_threads_is_not_locked_in_by_halves(confined: Confined) -> None:
    files = confined.sandbox.files_of(confined.folder)
    assert files is not None
    said = confined.outcomes(TOO_LATE, files.model_dump_json(), at_once=False)
    assert said == {"locking in": "the runner has 2 threads, and could lock in only one of them"}
