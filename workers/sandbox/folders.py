"""What any runner needs of its host: the interpreter, the libraries, our code, and what torch and CUDA ask of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from workers.sandbox.confinement import Files

#: Folders of a scratch that its runner may write to. They are there before it starts; the rest is to read alone.
WRITABLE = ("out", "tmp", "home", "made", "notes", "checkpoints")

#: Rooms of ours that a runner imports. Where the code is not installed, much else lies beside them.
ROOMS = ("api_schemas", "figures", "sources", "store", "workers")

SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/nix/store")

#: What libraries read when they are loaded: where others are, the time zone, types of files, OpenSSL's settings.
CONFIGURATION = (
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone", "/etc/mime.types",
    "/etc/ssl/openssl.cnf", "/etc/ssl/certs", "/etc/pki/tls/openssl.cnf", "/etc/alternatives", "/etc/locale.alias",
)  # fmt: skip

#: Of the processes, its own alone, and of that what says nothing of the host's network and mounts.
ITSELF = (
    "auxv", "cgroup", "cmdline", "comm", "environ", "exe", "fd", "fdinfo", "limits", "maps", "numa_maps",
    "oom_score_adj", "smaps", "stat", "statm", "status",
)  # fmt: skip

#: Of the machine: what it has, and how it is set.
MACHINE = (
    *(f"/proc/self/{name}" for name in ITSELF),
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version",
    "/proc/filesystems", "/proc/devices", "/proc/modules", "/proc/sys/vm", "/proc/sys/kernel", "/proc/driver/nvidia",
    "/proc/driver/nvidia-uvm", "/sys/devices", "/sys/class", "/sys/bus", "/sys/module",
    "/sys/fs/cgroup", "/sys/kernel/mm",
)  # fmt: skip

DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*")


def needed_by_any(private: Iterable[Path]) -> Files:
    """Of this interpreter, as it was started. Nothing that holds one of ``private`` is among it."""
    kept = [path.resolve() for path in private]
    libraries = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.exec_prefix), Path(sys.base_exec_prefix)]
    ours = Path(__file__).resolve().parents[2]
    others = [path for path in _search_paths() if path.is_dir() and path.resolve() != ours]
    read = [path for path in [*libraries, *others] if not _holds(path.resolve(), kept)]
    # Where it is installed for development, what tells its version lies beside it.
    rooms = [*(ours / room for room in ROOMS), *ours.glob("layercut*.egg-info")]
    fixed = [Path(path) for path in (*SYSTEM, *CONFIGURATION, *MACHINE)]
    return Files(
        read=tuple(dict.fromkeys([*read, *rooms, *fixed])),
        # Whoever imports from a folder lists it first.
        listed=(ours,),
        devices=tuple(path for name in DEVICES for path in Path("/dev").glob(name)),
    )


def _search_paths() -> list[Path]:
    """Of modules and of shared libraries. The working folder only where it is named: `python -m` puts it first."""
    named = [
        entry for name in ("PYTHONPATH", "LD_LIBRARY_PATH") for entry in os.environ.get(name, "").split(os.pathsep)
    ]
    found = [Path(entry) for entry in [*named, *sys.path] if entry]
    return [path for path in found if str(path) in named or path.resolve() != Path.cwd()]


def _holds(folder: Path, kept: list[Path]) -> bool:
    return any(path.is_relative_to(folder) for path in kept)
