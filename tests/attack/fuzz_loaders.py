"""Files changed at random, read by the gateway's readers and, where these accept them, loaded by the worker's.

``python -m tests.attack.fuzz_loaders --minutes 10 [--load]``: every case must end, within 5 s and 1 GB, as an answer
or as a ``LayercutError``. A case that does not is kept, with its seed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from sources.model_folder import folder_of, read_facts
from tests.support.hostile_files import changed, model_files, read_model, read_table, special, table_file, write_files

SECONDS, MEGABYTES = 5.0, 1024
#: A child is renewed now and then: what it holds shows as memory.
CASES_OF_CHILD = 2000


def one_case(seed: int, folder: Path, *, load: bool) -> str:
    draw = random.Random(seed)
    if draw.random() < 0.3:
        name, content = table_file(draw)
        (folder / name).write_bytes(content)
        return read_table(folder / name)
    files = changed(model_files(draw), draw)
    write_files(folder, files)
    if draw.random() < 0.1:
        special(folder / draw.choice(sorted(files)), draw)
    said = read_model(folder)
    return _loaded(folder) if load and said.startswith("{") else said


def _loaded(folder: Path) -> str:
    from workers.runtime.loading import load_source, load_tokenizer  # noqa: PLC0415 - torch is slow to import

    facts = read_facts(folder_of(folder, "x"), ModelRef(id="x"))
    try:
        load_tokenizer(folder)("a text, and another 😀")
        load_source(folder, facts)
    except LayercutError as error:
        return error.message
    return "loaded"


def _child(door: Connection, *, load: bool) -> None:
    faulthandler.enable()
    while True:
        seed = door.recv()
        folder = Path(tempfile.mkdtemp(prefix="layercut-fuzz-"))
        try:
            said = one_case(seed, folder, load=load)
            door.send((None, said[:60], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
        except BaseException:  # noqa: BLE001 - a panic of the libraries is one
            door.send((traceback.format_exc()[-3000:], "", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Child:
    """A process of its own, which may crash or hang."""

    def __init__(self, *, load: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.door, theirs = context.Pipe()
        self.process = context.Process(target=_child, args=(theirs,), kwargs={"load": load}, daemon=True)
        self.process.start()
        theirs.close()
        self.cases = 0

    def ask(self, seed: int) -> str | None:
        """What is wrong with the case; None where nothing is."""
        self.cases += 1
        self.door.send(seed)
        # The first one imports the libraries.
        if not self.door.poll(SECONDS if self.cases > 1 else 60):
            return f"hangs for more than {SECONDS} s"
        try:
            wrong, _, megabytes = self.door.recv()
        except EOFError:
            self.process.join()
            return f"crashed with exit status {self.process.exitcode}"
        return str(wrong) if wrong else f"{megabytes} MB" if megabytes > MEGABYTES else None

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.door.close()


def fuzz(minutes: float, first: int, *, load: bool, tell: Callable[[str], object] = print) -> int:
    """How many cases went wrong."""
    end, seed, wrong = time.monotonic() + minutes * 60, first, 0
    child = Child(load=load)
    while time.monotonic() < end:
        fault = child.ask(seed)
        if fault is not None:
            wrong += 1
            tell(f"seed {seed}: {fault}")
        if fault is not None or child.cases >= CASES_OF_CHILD:
            child.end()
            child = Child(load=load)
        seed += 1
    child.end()
    tell(f"{seed - first} cases, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--load", action="store_true", help="load what is accepted, as the worker does")
    asked = parser.parse_args()
    sys.exit(1 if fuzz(asked.minutes, asked.first, load=asked.load) else 0)
