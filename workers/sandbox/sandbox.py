"""What locks runners in on this host: found out once, by trying, and then applied to each."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from api_schemas.workers import Measure, MeasureName, SandboxReport
from workers.sandbox import folders
from workers.sandbox.confinement import Applied, Confinement, Files, Limits
from workers.sandbox.groups import Groups, host_memory, remove_groups
from workers.sandbox.landlock import scopes_signals
from workers.sandbox.limits import CONTROL_GROUPS
from workers.settings import WorkerSettings

log = logging.getLogger("layercut.sandbox")

LAUNCHER = Path(__file__).with_name("launch.py")
PROBE = Path(__file__).with_name("probe.py")
PROBE_SECONDS = 60.0

#: Of no user that a system makes; the worker's own number is added.
FIRST_UID = 2_000_000_000
#: Folders of a scratch that its runner reads, and its supervisor fills.
READ_ONLY = ("inputs", "shared")

ROOTS_ALONE: tuple[Applied, ...] = ("network_namespace", "own_user")


class Unconfined(Exception):
    """LAYERCUT_SANDBOX=required, and this host cannot lock a runner in. Says what could not be had, and why."""


@dataclass(frozen=True)
class Launch:
    """How to start a runner: the command, and what ``subprocess.Popen`` is told beside it. ``groups`` are its own
    control groups, to be removed when it is gone.
    """

    command: list[str]
    cwd: Path
    groups: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Sandbox:
    """``files`` is what any runner may reach beside its own scratch folder. Without ``measures`` nothing is locked."""

    report: SandboxReport
    measures: tuple[Applied, ...] = ()
    files: Files = field(default_factory=Files)
    limits: Limits | None = None
    uid: int | None = None
    groups: Groups = field(default_factory=Groups)

    @classmethod
    def none(cls, why: str) -> Sandbox:
        """Lock nothing."""
        off = [Measure(name=name, on=False, detail=why) for name in get_args(MeasureName)]
        return cls(SandboxReport(complete=False, measures=off))

    @classmethod
    def of(cls, settings: WorkerSettings, *, read: Sequence[Path] = (), write: Sequence[Path] = ()) -> Sandbox:
        """What this host can do, as ``settings`` ask for it. Runners may reach ``read`` and ``write`` beside their
        own: nothing, unless for tests.

        Raises ``Unconfined``, where that is asked for.
        """
        if settings.sandbox == "off":
            found = cls.none("LAYERCUT_SANDBOX=off")
        elif sys.platform != "linux":
            found = cls.none(f"there is none for {sys.platform}, only for Linux")
        else:
            found = _Trial(settings, read, write).result()
        found._tell(required=settings.sandbox == "required")
        return found

    @property
    def complete(self) -> bool:
        """Files and network are both shut."""
        return self.report.complete

    @property
    def runner_uid(self) -> int | None:
        """The user that runners become; what is staged must be to read for it. None: that of their worker."""
        return self.uid if "own_user" in self.measures else None

    @property
    def keeps_groups(self) -> bool:
        """No process that a runner starts can leave its process group."""
        return "system_calls" in self.measures

    def close(self) -> None:
        """When the last runner is gone."""
        self.groups.close()

    def prepare(self, folder: Path) -> None:
        """Make the folders of a new scratch folder, for the user that its runner will have."""
        for name in (*folders.WRITABLE, *READ_ONLY):
            (folder / name).mkdir()
            (folder / name).chmod(0o755)  # whatever the umask is; the scratch folder itself lets nobody else in
        if self.runner_uid is not None:
            os.chown(folder, -1, self.runner_uid)
            folder.chmod(0o750)
            for name in folders.WRITABLE:
                os.lchown(folder / name, self.runner_uid, self.runner_uid)

    def give_folder(self, handle: int) -> None:
        """Let the runner write to the open folder, which was made for it. Not by name: it may have put a link there."""
        if self.runner_uid is not None:
            os.fchown(handle, self.runner_uid, self.runner_uid)

    def launch(self, command: list[str], folder: Path) -> Launch:
        """Of a runner whose scratch is ``folder``. What it may open it is told when it gets a job: ``files_of``.

        Raises ``OSError`` where no control group can be made any more.
        """
        return self._launched(command, folder, files=False)

    def launch_with_files(self, command: list[str], folder: Path) -> Launch:
        """Of a program that locks nothing by itself: it may open no more than ``files_of`` from the start."""
        return self._launched(command, folder)

    def files_of(self, folder: Path) -> Files | None:
        """What a runner whose scratch is ``folder`` may open; None where files cannot be locked."""
        return self._confinement(folder).files if "files" in self.measures else None

    def _launched(self, command: list[str], folder: Path, *, files: bool = True, probe: bool = False) -> Launch:
        if not self.measures:
            return Launch(command, folder / "tmp")
        groups = self.groups.make() if "limits" in self.measures else ()
        confinement = self._confinement(folder, groups, files=files, probe=probe)
        return Launch([*_launcher(confinement), *command], folder / "tmp", groups)

    def _confinement(
        self, folder: Path, groups: tuple[Path, ...] = (), *, files: bool = True, probe: bool = False
    ) -> Confinement:
        assert self.limits is not None
        own = {
            "read": (*self.files.read, folder),
            "write": (*self.files.write, *(folder / name for name in folders.WRITABLE)),
        }
        return Confinement(
            measures=tuple(name for name in self.measures if files or name != "files"),
            files=self.files.model_copy(update=own),
            limits=self.limits,
            groups=groups,
            uid=self.runner_uid,
            own_signals=not (self.runner_uid is not None or ("files" in self.measures and scopes_signals())),
            probe=probe,
        )

    def _tell(self, *, required: bool) -> None:
        for measure in self.report.measures:
            level = logging.INFO if measure.on else logging.WARNING
            log.log(level, "sandbox: %s is %s: %s", measure.name, "on" if measure.on else "OFF", measure.detail)
        if required and not self.complete:
            missing = "; ".join(f"{found.name}: {found.detail}" for found in self.report.measures if not found.on)
            raise Unconfined(f"LAYERCUT_SANDBOX=required, and this host cannot shut files and network: {missing}")


class _Trial:
    """Tries all measures at once; what fails is left out, with the reason, until a runner could be started."""

    def __init__(self, settings: WorkerSettings, read: Sequence[Path], write: Sequence[Path]) -> None:
        self._settings = settings
        needed = folders.needed_by_any([settings.data_dir, settings.scratch_root])
        also = (*settings.verify_with, *read)
        self._files = needed.model_copy(update={"read": (*needed.read, *also), "write": tuple(write)})
        self._wanted = [name for name in get_args(Applied) if os.geteuid() == 0 or name not in ROOTS_ALONE]
        self._why: dict[str, str] = {}
        if os.geteuid() != 0:
            self._why = dict.fromkeys(ROOTS_ALONE, "the worker is not root, and is a user of its own already")
        limits = self._limits
        self._groups = Groups.of({"pids": limits.processes, "memory": limits.memory_bytes})
        if settings.runner_uid == 0:
            self._give_up("own_user", "LAYERCUT_RUNNER_UID=0")

    def result(self) -> Sandbox:
        while True:
            sandbox = Sandbox(
                SandboxReport(complete=False),
                tuple(self._wanted), self._files, self._limits, self._uid, self._groups,
            )  # fmt: skip
            said = self._probe(sandbox)
            if said is not None:
                return replace(sandbox, report=self._report(said))
            if not self._wanted:
                return Sandbox.none(self._why.get("files", "no process could be started to try it"))

    @property
    def _uid(self) -> int:
        return self._settings.runner_uid or FIRST_UID + os.getpid()

    @property
    def _limits(self) -> Limits:
        settings = self._settings
        return Limits(
            memory_bytes=settings.runner_memory_bytes or host_memory(),
            file_bytes=settings.runner_file_bytes,
            open_files=settings.runner_open_files,
            processes=settings.runner_processes,
        )

    def _probe(self, sandbox: Sandbox) -> dict[str, Any] | None:
        """What a process in the sandbox found; None where something had to be given up first."""
        self._settings.scratch_root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="probe-", dir=self._settings.scratch_root) as place:
            folder, canary = Path(place, "own"), Path(place, "canary")
            folder.mkdir(0o700)
            Path(place).chmod(0o711)
            canary.write_text("x")
            canary.chmod(0o644)
            command = [sys.executable, "-I", "-S", str(PROBE), json.dumps(self._asked(folder, canary))]
            if (launch := self._launch(sandbox, command, folder)) is None:
                return None
            try:
                return self._understood(_run(launch.command))
            finally:
                remove_groups(launch.groups)

    def _launch(self, sandbox: Sandbox, command: list[str], folder: Path) -> Launch | None:
        try:
            sandbox.prepare(folder)
        except OSError as error:
            if sandbox.runner_uid is None:
                raise
            # A container may know few users.
            self._give_up("own_user", f"no folder can be given to user {self._uid}: {error.strerror}")
            return None
        try:
            return sandbox._launched(command, folder, probe=True)
        except OSError as error:
            self._groups = self._groups.without(error.strerror or str(error))
            return None

    def _asked(self, folder: Path, canary: Path) -> dict[str, Any]:
        libraries = [spec.origin for name in ("pydantic", "torch", "numpy") if (spec := find_spec(name)) is not None]
        return {
            "canary": str(canary),
            "inputs": str(folder / READ_ONLY[0]),
            "writable": [str(folder / name) for name in folders.WRITABLE],
            "libraries": [str(LAUNCHER), *(origin for origin in libraries if origin is not None)],
            "code": str(PROBE),
            "data": str(self._settings.data_dir),
            "supervisor": os.getpid(),
        }

    def _understood(self, done: subprocess.CompletedProcess[str]) -> dict[str, Any] | None:
        lines = done.stdout.splitlines()
        failed: dict[str, str] = json.loads(lines[0]) if lines else {}
        for measure, why in failed.items():
            if measure == CONTROL_GROUPS:
                self._groups = self._groups.without(why)
            else:
                self._give_up(measure, why)
        if failed:
            return None
        if len(lines) != 2:
            self._cannot_start(done.stderr.strip()[-500:] or f"it ended with {done.returncode}")
            return None
        said: dict[str, Any] = json.loads(lines[1])
        if said["cannot"]:
            self._cannot_start("; ".join(f"{what}: {why}" for what, why in said["cannot"].items()))
            return None
        return said

    def _cannot_start(self, why: str) -> None:
        """Something that is locked is in the way: the user first, since other folders may be its alone, then files."""
        blamed = next((name for name in ("own_user", "files", "limits") if name in self._wanted), None)
        self._give_up(blamed or self._wanted[0], f"a runner could not work with it: {why}")

    def _give_up(self, measure: str, why: str) -> None:
        self._wanted = [name for name in self._wanted if name != measure]
        self._why[measure] = why

    def _report(self, said: dict[str, Any]) -> SandboxReport:
        measures = [self._tried(name, ways) for name, ways in said["open"].items()]
        measures += [self._applied(name) for name in (*ROOTS_ALONE, "limits")]
        on = {measure.name for measure in measures if measure.on}
        return SandboxReport(complete={"files", "network"} <= on, measures=measures)

    def _tried(self, name: MeasureName, open_ways: list[str]) -> Measure:
        if not open_ways:
            return Measure(name=name, on=True, detail="tried from within, and refused")
        why = self._why.get(name) or self._why.get("system_calls" if name == "network" else "files")
        return Measure(
            name=name, on=False, detail=f"it could do: {', '.join(open_ways)}" + (f" ({why})" if why else "")
        )

    def _applied(self, name: MeasureName) -> Measure:
        if name in self._why:
            return Measure(name=name, on=False, detail=self._why[name])
        details: dict[str, str] = {
            "network_namespace": "a network of its own, with nothing in it",
            "own_user": f"user and group {self._uid}",
            "limits": ", ".join(f"{key} {value}" for key, value in self._limits.model_dump().items()),
        }
        return Measure(name=name, on=True, detail=details[name] + self._unlimited(name))

    def _unlimited(self, name: str) -> str:
        # The kernel counts the processes of every user but this one.
        root = os.geteuid() == 0 and "own_user" in self._why and "pids" not in self._groups.parents
        processes = "; but not its processes: its user is root" if root else ""
        missing = "".join(f"; no control group for {what}: {why}" for what, why in self._groups.missing.items())
        return processes + missing if name == "limits" else ""


def _launcher(confinement: Confinement) -> list[str]:
    return [sys.executable, "-I", "-S", str(LAUNCHER), confinement.model_dump_json()]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
