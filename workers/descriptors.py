"""Open files that a supervisor hands to its runner, over a socket pair that both were born with."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from sources.inputs import FIRST_DESCRIPTOR

#: The kernel takes no more in one message.
AT_ONCE = 200


def send_descriptors(channel: socket.socket, handles: Sequence[int]) -> None:
    """Raises ``OSError`` where nobody is there to take them."""
    for start in range(0, len(handles), AT_ONCE):
        socket.send_fds(channel, [b"."], list(handles[start : start + AT_ONCE]))


def receive_descriptors(channel: int, count: int) -> list[int]:
    """Take ``count`` of them from the socket ``channel``, under the numbers that the staged links name."""
    taken: list[int] = []
    with socket.socket(fileno=channel) as own:
        while len(taken) < count:
            said, handles, _, _ = socket.recv_fds(own, 1, AT_ONCE)
            if not said:
                raise EOFError("the supervisor ended before it had handed over all files")
            taken += handles
    return place_descriptors(taken)


def place_descriptors(handles: Sequence[int]) -> list[int]:
    """Give them their numbers, in this process and in those that it starts; the former numbers are closed."""
    for place, handle in enumerate(handles):
        # For the verifier, which compares with the source, too.
        os.dup2(handle, FIRST_DESCRIPTOR + place, inheritable=True)
        os.close(handle)
    return [FIRST_DESCRIPTOR + place for place in range(len(handles))]
