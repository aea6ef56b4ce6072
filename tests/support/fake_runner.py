"""A runner that does as it is told by the job's metadata, for tests of what is around it. Imports nothing of ours.

`acts` are words, done in turn: `stage:baseline`, `progress:0.5`, `many:100` (progress), `log:text`, `say:text` (raw on
stdout), `moan:text` (stderr), `wait:FILE` (until it exists), `touch:FILE`, `succeed`, `fail:code`, `fail-with-files`,
`bad-ending`, `exit:3`, `die:9` (signal), `deaf` (ignores SIGTERM), `child:FILE` (a grandchild that ignores SIGTERM and
holds stdout open; its pid goes into FILE), `pid:FILE`, `kill-for-memory:FILE` (counts in the file, and dies of it),
`environment:FILE`, `outside:FOLDER` (names it as its artifact), `linger` (never leaves), `chatter:0.1` (logs so often,
for ever), `checkpoint:NAME` (writes one and tells it), `checkpoint-at-term:NAME` (at SIGTERM, and leaves),
`exit-once:FILE` (where it exists, and removes it), `leave-once:FILE=NAME` (a checkpoint, and then as before),
`anew:NAME=OTHER` (a checkpoint in the place of another, with other weights),
`checkpoints:FILE` (what there are goes into FILE), `loss:STEP=0.5` (progress of a training, with its loss),
`metric:NAME=91.5` (of the model after), `report:FILE` (is its report), `warned` (asks what its report is to warn of,
and logs it).
Of one that is hostile, in its scratch folder: `plant:NAME=FOLDER` (puts a link in the place of NAME),
`scribble:NAME=text` (writes into the file where it is there, under whatever other names it has), `nest:DEPTH` (folders
in each other). In what it exports, for `succeed` and `fail-with-files`: `export:KIND=NAME`, `export:text=NAME=text`.
Of what it tells: `flood:100` (log events), `endless:8` (a line of as many MiB), `large:1000` (a log event with
a text of that length in its data), `long:1000` (one with a message of that length), `deep:1000` (lists in each other,
as deep), `numbers:1000` (an ending with as many wrong ones).
Of memory: `learn:SHAPE=1` (rows that fit), `recall:FILE` (what is known goes into FILE).
Of the cache: `want:a` (the baseline whose fingerprint is 64 times that letter; says `make` or `have` with its content),
`fill:text` (the folder that it was given), `put:NAME=text` (a file there), `made:a`.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue

CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"

JOB = {}
HANDOVER = {}

RESULT = {
    "layers_total": 6,
    "layers_kept": [0, 1, 2, 3],
    "layers_dropped": [4, 5],
    "parameters_before": 10,
    "parameters_after": 7,
    "bytes_before": 40,
    "bytes_after": 28,
    "metric": None,
    "score_before": None,
    "score_after": None,
    "retention": None,
    "speedup": None,
    "verdict": "smaller",
}


def tell(kind, message="", **data):
    print(json.dumps({"type": f"job.{kind}", "message": message or kind, "data": data}), flush=True)


def wait(file):
    while not Path(file).exists():
        time.sleep(0.01)


CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "num_hidden_layers": 1,
    "hidden_size": 8,
    "vocab_size": 11,
    "max_position_embeddings": 64,
}
SHAPES = {
    "embeddings.word_embeddings.weight": [11, 8],
    "encoder.layer.0.attention.self.query.weight": [8, 8],
    "encoder.layer.0.output.LayerNorm.gamma": [8],
}


def weights():
    header, end = {}, 0
    for name, shape in SHAPES.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


def make_artifact(out):
    folder = out / "artifact"
    folder.mkdir(exist_ok=True)
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": weights(),
        "vocab.txt": b"[PAD]\n",
        "README.md": b"# a card\n",
        "SHA256SUMS": f"{64 * '0'}  config.json\n".encode(),
    }
    for name, content in files.items():
        if not os.path.lexists(folder / name):
            (folder / name).write_bytes(content)
    (out / "model.tar").write_bytes(b"not what is in the folder")
    return {"folder": "artifact", "archive": "model.tar"}


def write_sparse(path):
    with path.open("wb") as file:
        file.truncate(2**40)


def write_many(path):
    for number in range(3000):
        path.with_name(f"{path.name}-{number}").touch()


def link_file(path):
    (path.parent.parent / "elsewhere").write_text("{}")
    os.link(path.parent.parent / "elsewhere", path)


EXPORTS = {
    "file": lambda path: path.touch(),
    "sparse": write_sparse,
    "many": write_many,
    "link": lambda path: path.symlink_to("/etc"),
    "second-name": link_file,
    "pipe": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "pickle": lambda path: path.write_bytes(b"\x80\x04."),
    "truncated": lambda path: path.write_bytes(weights()[:-1]),
    "longer": lambda path: path.write_bytes(weights() + b"#!/bin/sh"),
}


def export(out, what):
    kind, name, *text = what.split("=", 2)
    path = out / "artifact" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if text:
        path.write_text(*text)
    else:
        EXPORTS[kind](path)


def nest(out, depth):
    handle = os.open(out, os.O_RDONLY)
    for _ in range(int(depth)):
        os.mkdir(200 * "a", dir_fd=handle)
        handle, outer = os.open(200 * "a", os.O_RDONLY, dir_fd=handle), handle
        os.close(outer)


def succeed(out, _):
    usage = {"wall_seconds": 1.5, "peak_memory_bytes": 1, "training_steps": 2}
    tell("succeeded", result=RESULT, usage=usage, artifact=make_artifact(out))


def fail(_, code):
    tell("failed", "it broke", error={"code": code, "message": "it broke", "retryable": False})


def fail_with_files(out, _):
    error = {"code": "objective_not_met", "message": "too low", "retryable": False}
    tell("failed", "too low", error=error, artifact=make_artifact(out))


def checkpoint(_, name, text="weights of"):
    hidden = Path(JOB["checkpoints"]) / f".{name}"
    hidden.mkdir(parents=True)
    (hidden / "state.safetensors").write_text(f"{text} {name}")
    shutil.rmtree(hidden.with_name(name), ignore_errors=True)
    hidden.rename(hidden.with_name(name))  # as the real one does: CheckpointSync may look at any moment
    tell("log", f"checkpoint {name}", checkpoint=name)


def leave_once(_, what):
    file, name = what.split("=")
    if Path(file).exists():
        checkpoint(None, name)
        exit_once(None, file)


def anew(_, what):
    name, other = what.split("=")
    checkpoint(None, name, "anew")
    if other != name:
        shutil.rmtree(Path(JOB["checkpoints"]) / other)


def checkpoint_at_term(_, name):
    def save(*_):
        checkpoint(None, name)
        os._exit(143)

    signal.signal(signal.SIGTERM, save)


def see_checkpoints(_, file):
    found = {path.parent.name: path.read_text() for path in Path(JOB["checkpoints"]).glob("[!.]*/state.safetensors")}
    Path(file).write_text(json.dumps(found))


def exit_once(_, file):
    if Path(file).exists():
        Path(file).unlink()
        sys.exit(1)


def chatter(_, seconds):
    while True:
        tell("log", "still here")
        time.sleep(float(seconds))


def kill_for_memory(_, file):
    """As the kernel does: the file is `memory.events` of a control group."""
    Path(file).write_text("oom 1\noom_kill 1\n")
    os.kill(os.getpid(), signal.SIGKILL)


def spawn(_, file):
    child = subprocess.Popen([sys.executable, "-c", CHILD])
    Path(file).write_text(str(child.pid))


def plant(_, what):
    name, folder = what.split("=")
    place = Path(JOB["checkpoints"]).parent / name
    shutil.rmtree(place, ignore_errors=True)
    place.symlink_to(folder)


def scribble(_, what):
    name, text = what.split("=")
    place = Path(JOB["checkpoints"]).parent / name
    if place.exists():
        with place.open("r+") as file:
            file.write(text)


def flood(_, count):
    for number in range(int(count)):
        tell("log", f"line {number}")


def endless(_, mebibytes):
    for _ in range(int(mebibytes)):
        sys.stdout.write("x" * 2**20)
    sys.stdout.flush()


def numbers(_, count):
    tell("succeeded", result={**RESULT, "layers_kept": ["x"] * int(count)})


def learn(_, what):
    shape, rows = what.split("=")
    (Path(HANDOVER["notes"]) / "micro_batches.json").write_text(json.dumps({shape: {"rows": int(rows), "at": 1.0}}))


def recall(_, file):
    known = Path(HANDOVER["notes"]) / "micro_batches.json"
    Path(file).write_text(known.read_text() if known.exists() else "")


ANSWERS = SimpleQueue()
GIVEN = []


def ask(cache, letter):
    request = {"cache": cache, "kind": "baseline", "fingerprint": letter * 64, "seconds": 7.0 * (cache == "made")}
    print(json.dumps(request), flush=True)
    answer = json.loads(ANSWERS.get())
    GIVEN[:] = [Path(answer["folder"])]
    return answer


def want(_, letter):
    answer = ask("want", letter)
    tell("log", f"have:{thing()}:{answer['seconds']}" if answer["made"] else f"make:{os.listdir(GIVEN[0])}")


def put(_, what):
    name, text = what.split("=")
    (GIVEN[0] / name).write_text(text)


def made(_, letter):
    ask("made", letter)
    tell("log", f"made:{thing()}")


def tell_loss(step, loss):
    tell("progress", fraction=0.5, step=int(step), total_steps=100, epoch=0.5, loss=float(loss))


def tell_metric(name, value):
    tell("metric", name=name, value=float(value), side="after")


def copy_report(out, file):
    (out / "artifact").mkdir(exist_ok=True)
    shutil.copy(file, out / "artifact" / "report.json")


def warned(_, __):
    print(json.dumps({"warnings": "want"}), flush=True)
    for warning in json.loads(ANSWERS.get())["warnings"]:
        tell("log", f"warned:{warning}")


def thing():
    return (GIVEN[0] / "thing").read_text()


ACTS = {
    "want": want,
    "fill": lambda _, text: (GIVEN[0] / "thing").write_text(text),
    "put": put,
    "made": made,
    "stage": lambda _, name: tell("stage", stage=name, skipped=False),
    "progress": lambda _, value: tell("progress", fraction=float(value)),
    "many": lambda _, count: [tell("progress", fraction=step / int(count)) for step in range(int(count))],
    "loss": lambda _, what: tell_loss(*what.split("=")),
    "metric": lambda _, what: tell_metric(*what.split("=")),
    "report": copy_report,
    "warned": warned,
    "log": lambda _, text: tell("log", text),
    "say": lambda _, text: print(text, flush=True),
    "moan": lambda _, text: print(text, file=sys.stderr, flush=True),
    "wait": lambda _, file: wait(file),
    "touch": lambda _, file: Path(file).touch(),
    "succeed": succeed,
    "fail": fail,
    "fail-with-files": fail_with_files,
    "bad-ending": lambda _, __: tell("succeeded", result={"nonsense": 1}),
    "outside": lambda out, folder: tell("succeeded", result=RESULT, artifact={"folder": folder, "archive": None}),
    "exit": lambda _, code: sys.exit(int(code)),
    "die": lambda _, number: os.kill(os.getpid(), int(number)),
    "deaf": lambda _, __: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "child": spawn,
    "chatter": chatter,
    "kill-for-memory": kill_for_memory,
    "exit-once": exit_once,
    "checkpoint": checkpoint,
    "leave-once": leave_once,
    "anew": anew,
    "checkpoint-at-term": checkpoint_at_term,
    "plant": plant,
    "scribble": scribble,
    "export": export,
    "nest": nest,
    "learn": learn,
    "recall": recall,
    "flood": flood,
    "endless": endless,
    "large": lambda _, length: tell("log", "large", fingerprint="x" * int(length)),
    "long": lambda _, length: tell("log", "m" * int(length)),
    "deep": lambda _, depth: print("[" * int(depth), flush=True),
    "numbers": numbers,
    "checkpoints": see_checkpoints,
    "pid": lambda _, file: Path(file).write_text(str(os.getpid())),
    "environment": lambda _, file: Path(file).write_text(json.dumps(dict(os.environ))),
    "linger": lambda _, __: time.sleep(600),
}


def listen_to_supervisor():
    while block := os.read(0, 65536):
        for line in block.decode().splitlines():
            ANSWERS.put(line)
    os._exit(1)


def main():
    print('{"ready": true}', flush=True)
    line = sys.stdin.readline()
    if not line:
        return
    threading.Thread(target=listen_to_supervisor, daemon=True).start()
    handover = json.loads(line)
    HANDOVER.update(handover)
    job = json.loads(Path(handover["job"]).read_text())
    JOB.update(job)
    out = Path(handover["out"])
    for word in job["request"]["metadata"]["acts"].split():
        act, _, value = word.partition(":")
        ACTS[act](out, value)


if __name__ == "__main__":
    main()
