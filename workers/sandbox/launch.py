"""A program: lock this process in, and become the command. ``launch.py SPEC COMMAND …``; run with ``python -I -S``.

SPEC is a `confinement.Confinement` as JSON. Landlock and seccomp bind the thread that calls them and what it starts:
this has to be over before numpy and torch are imported, whose threads would stay free. So it is a program of its own,
which imports next to nothing. Where a measure that SPEC asks for cannot be had, nothing is started: exit code 70.
With ``"probe": true`` it says on stdout what could not be had, in one line of JSON, and goes on. Control groups are
told apart from the other limits: these can be had without them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

# Run by its path, so that no folder that a stranger can write to comes first.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from workers.sandbox import limits, privileges, seccomp
from workers.sandbox.kernel import die_with_parent
from workers.sandbox.landlock import Ruleset, lock_files

CANNOT = 70

Spec = dict[str, Any]


class _Steps:
    """In the order that they need. What fails is noted by the name of its measure."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self.failed: dict[str, str] = {}
        self._ruleset: Ruleset | None = None

    def take(self) -> None:
        spec = self._spec
        self._try("network_namespace", privileges.leave_network)
        # Made while its paths can still be reached; in force last.
        self._try("files", self._prepare_files)
        self._try("limits", lambda: limits.enter(spec["groups"]), told=limits.CONTROL_GROUPS)
        final = "system_calls" not in spec["measures"]
        self._try("limits", lambda: limits.set_limits(spec["limits"], spec["uid"], final=final))
        self._try("privileges", privileges.bind_to_no_root)
        self._try("own_user", lambda: privileges.become(spec["uid"]))
        self._try("privileges", privileges.drop_capabilities)
        # Nothing that is left can be locked without it, whatever became of the other privileges.
        for measure in spec["measures"]:
            self._try(measure, privileges.forbid_new_privileges)
        if self._ruleset is not None:
            self._try("files", self._ruleset.enforce)
        self._try("system_calls", lambda: seccomp.lock_system_calls(own_signals=spec["own_signals"]))

    def _prepare_files(self) -> None:
        named = self._spec["files"]
        self._ruleset = lock_files(**named)

    def _try(self, measure: str, step: Callable[[], object], told: str | None = None) -> None:
        if measure not in self._spec["measures"]:
            return
        try:
            step()
        except (OSError, ValueError, KeyError) as error:
            self.failed.setdefault(told or measure, f"{type(error).__name__}: {error}")


def main() -> None:
    spec, command = json.loads(sys.argv[1]), sys.argv[2:]
    steps = _Steps(spec)
    if spec["probe"]:  # nobody else would end it: it has no scratch folder that names it
        die_with_parent()
    steps.take()
    if spec["probe"]:
        die_with_parent()  # who has become another user has lost it
        print(json.dumps(steps.failed), flush=True)
    elif steps.failed:
        for measure, why in steps.failed.items():
            print(f"the sandbox's measure {measure!r} worked at the worker's start, and now: {why}", file=sys.stderr)
        sys.exit(CANNOT)
    for handle in spec["files"]["open_files"]:
        os.set_inheritable(handle, True)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr)
        sys.exit(CANNOT)


if __name__ == "__main__":
    main()
