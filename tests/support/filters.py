"""What the kernel would make of a filter of system calls, for machines that are not at hand."""

from __future__ import annotations

from collections.abc import Sequence

from workers.sandbox.call_numbers import number_of
from workers.sandbox.seccomp import AND, ANY_BIT, AT_LEAST, AUDIT_NUMBERS, EQUAL, LOAD, RETURN, Instruction


def decide(program: list[Instruction], machine: str, call: str | int, arguments: Sequence[int] = ()) -> int:
    """The answer to ``call`` on ``machine``: its name there, or a number. Fails where the program ends without one."""
    number = call if isinstance(call, int) else number_of(call, machine)
    assert number is not None
    registers = [value & (1 << 64) - 1 for value in [*arguments, *[0] * 6][:6]]
    words = {0: number, 4: AUDIT_NUMBERS[machine]}
    words |= {16 + 8 * index: value & 0xFFFFFFFF for index, value in enumerate(registers)}
    words |= {20 + 8 * index: value >> 32 for index, value in enumerate(registers)}
    loaded = place = 0
    while True:
        code, then, otherwise, value = program[place]
        place += 1
        if code == RETURN:
            return value
        if code == LOAD:
            loaded = words[value]
        elif code == AND:
            loaded &= value
        else:
            holds = {EQUAL: loaded == value, AT_LEAST: loaded >= value, ANY_BIT: bool(loaded & value)}
            place += then if holds[code] else otherwise
