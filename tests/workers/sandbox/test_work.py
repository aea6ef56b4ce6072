"""What a runner must be able to do, locked in: libraries, threads, children, temporary files, mapped weights."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.confined import Confined

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
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.train_from_iterator(["one two three"] * 500, trainers.BpeTrainer(vocab_size=60, show_progress=False))
print("tokenizer:", len(tokenizer.encode_batch(["one two"] * 500)))
tried("environment", lambda: {"HF_TOKEN", "HTTPS_PROXY"} & set(os.environ))
"""


def test_torch_safetensors_tokenizers_children_and_temporary_files_work(confined: Confined) -> None:
    save_file({"weight": torch.ones(1000)}, confined.folder / "inputs" / "model.safetensors")
    assert confined.outcomes(PROGRAM, confined.folder) == {
        "matmul": "27000000.0",
        "backward": "64",
        "mapped": "1000.0",
        "saved": "8.0",
        "temporary": "True",
        "child": "3",
        "tokenizer": "500",
        "environment": "got set()",
    }


DESCRIPTORS = """
import mmap, socket
given, inherited, secret = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), sys.argv[3]
tried("given", lambda: open(f"/proc/self/fd/{given}").read())
(_, (received,), _, _) = socket.recv_fds(inherited, 1, 1)
tried("received, as it is", lambda: os.pread(received, 9, 0))
tried("received, mapped", lambda: mmap.mmap(received, 0, access=mmap.ACCESS_READ)[:9])
tried("received, opened again", lambda: open(f"/proc/self/fd/{received}").read())
tried("linked later", lambda: open(sys.argv[4] + "/linked").read())
"""


def test_files_from_outside_are_read_by_descriptor_or_by_a_link_that_its_supervisor_makes(
    confined: Confined, tmp_path: Path
) -> None:
    for name in ("given", "received", "linked"):
        (tmp_path / name).write_text(name)
    given, received = (os.open(tmp_path / name, os.O_RDONLY) for name in ("given", "received"))
    ours, theirs = socket.socketpair()
    try:
        os.link(tmp_path / "linked", confined.folder / "shared" / "linked")
        socket.send_fds(ours, [b"x"], [received])
        said = confined.outcomes(
            DESCRIPTORS,
            given,
            theirs.fileno(),
            tmp_path,
            confined.folder / "shared",
            descriptors=(given, theirs.fileno()),
        )
    finally:
        for handle in (ours, theirs):
            handle.close()
        os.close(given)
        os.close(received)
    assert said.pop("received, opened again").startswith("refused")
    assert said == {
        "given": "got 'given'",
        "received, as it is": "got b'received'",
        "received, mapped": "got b'received'",
        "linked later": "got 'linked'",
    }
