"""Memory that a step gave back is there for the next one. In a process of its own: the setting lasts for its life."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
from workers.runtime.malloc import keep_freed_memory

def step() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    # Above the 32 MB up to which glibc learns by itself to keep a block.
    blocks = [b"1" * 40_000_000 for _ in range(2)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{}
step()
print(max(step() for _ in range(3)))
"""


def faults(setting: str) -> int:
    """Page faults of a step that asks for as much memory as the one before it."""
    done = subprocess.run([sys.executable, "-c", STEPS.format(setting)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    assert faults("keep_freed_memory()") < faults("") / 10
