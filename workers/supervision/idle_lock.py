"""Workers of one fleet leave together: each holds a shared lock for as long as it has a job or may take one.

Who gets the lock for itself alone knows that all are idle, and that none takes a job from then on.
"""

from __future__ import annotations

import fcntl
import os
import tempfile

#: Told to a worker of a fleet: the number of its descriptor of the lock's file.
DESCRIPTOR = "LAYERCUT_IDLE_LOCK"


class FleetLock:
    """The fleet's side."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="layercut-fleet-")  # noqa: SIM115 - for as long as the fleet
        self._lent: list[int] = []

    def lend(self) -> int:
        """A descriptor for a worker, which has the lock by it from now on. A lock belongs to what one ``open`` made: it
        is the worker's and the fleet's in one, so that one that dies with a job has it still when it is started again,
        and one that has none lets go of it for both.
        """
        descriptor = os.open(self._file.name, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        self._lent.append(descriptor)
        return descriptor

    def all_idle(self) -> bool:
        """Whether nobody has a job; once it is True, nobody takes one."""
        return _locked(self._file.fileno(), fcntl.LOCK_EX)

    def close(self) -> None:
        """Once all have left."""
        for descriptor in self._lent:
            os.close(descriptor)
        self._file.close()


class IdleLock:
    """A worker's side; of one that is in no fleet, without a descriptor."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)  # a runner that outlives its worker must not go on holding it

    @classmethod
    def of_environment(cls) -> IdleLock:
        told = os.environ.pop(DESCRIPTOR, None)
        return cls(None if told is None else int(told))

    @property
    def shared(self) -> bool:
        return self._descriptor is not None

    def hold(self) -> bool:
        """Whether a job may be taken."""
        return self._descriptor is None or _locked(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
