"""docker-compose.yml without Docker: services' own commands, environments and healthchecks as local processes.

Only what containers would give is put in their place: images by the programs of the dev extra and of this machine,
names and ports by addresses, volumes by folders. Nothing of this process's environment reaches the services.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql
from sqlalchemy import make_url

from tests.support.gateway_process import free_port

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
READY_SECONDS = 90

#: Ports that a container has to itself: in the file by these numbers, and of others that SeaweedFS takes by default.
PORTS = {"gateway": "8000", "worker": "8001", "s3": "8333", "prometheus": "9090"}
OWN_PORTS = {
    "s3": [f"-{of}.port{kind}" for of in ("master", "volume", "filer") for kind in ("", ".grpc")] + ["-s3.port.grpc"]
}
#: What stands in .env.
DOTENV = {"POSTGRES_PASSWORD": "not-used-here", "AWS_SECRET_ACCESS_KEY": "secret-of-the-store"}

VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^}]*)|:\?[^}]*)?\}")


def interpolated(text: str, dotenv: Mapping[str, str]) -> str:
    """As compose does it, where the variable is set or has a default."""
    return VARIABLE.sub(lambda found: dotenv.get(found[1]) or found[2] or "", text)


@dataclass
class ComposeHost:
    """One machine that stands in for the containers. ``urls`` are variables whose servers are elsewhere here."""

    folder: Path
    urls: dict[str, str]
    dotenv: dict[str, str] = field(default_factory=lambda: dict(DOTENV))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @cached_property
    def ports(self) -> dict[str, int]:
        return {name: free_port() for name in PORTS}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def endpoint(self) -> str:
        """Of the S3 store."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    def place(self, mount: str) -> tuple[str, Path]:
        """A path of a container, and the folder here that stands for it: one for each volume, as there."""
        source, path = interpolated(mount, self.dotenv).split(":")[:2]
        here = self.folder / source if source.startswith("./") else self.folder / "volumes" / source
        here.mkdir(parents=True, exist_ok=True)
        return path, here

    def here(self, name: str, text: str) -> str:
        """``text`` of the service ``name``, with paths, ports and addresses of this machine."""
        text = interpolated(text, self.dotenv)
        places = dict(self.place(mount) for mount in SERVICES[name]["volumes"])
        if places:
            known = "|".join(sorted(map(re.escape, places), key=len, reverse=True))
            text = re.sub(rf"(?<![\w./]){'(' + known + ')'}(?![\w-])", lambda found: str(places[found[1]]), text)
        for service, port in PORTS.items():
            text = text.replace(f"http://{service}:{port}", f"http://127.0.0.1:{port}")
            text = re.sub(rf"\b{port}\b", str(self.ports[service]), text)
        return text.replace("0.0.0.0", "127.0.0.1")

    def environment(self, name: str) -> dict[str, str]:
        given = SERVICES[name].get("environment", {})
        values = {key: self.here(name, str(value)) for key, value in given.items() if value is not None}
        values.update({key: url for key, url in self.urls.items() if key in values})
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
        home = self.folder / "homes" / name
        home.mkdir(parents=True, exist_ok=True)
        return {**values, "PATH": path, "HOME": str(home), "OMP_NUM_THREADS": "1"}

    def command(self, name: str) -> list[str]:
        service = SERVICES[name]
        words = [*service.get("entrypoint", []), *service["command"]]
        own = [f"{option}={free_port()}" for option in OWN_PORTS.get(name, ())]
        program = [name] if words[0].startswith("-") else []  # the image has it as its entrypoint
        return [*program, *(self.here(name, str(word)) for word in words), *own]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(self, name: str) -> None:
        """Returns when its own healthcheck says that it is healthy."""
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.command(name),
                cwd=self.folder / "homes",
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self.healthy(name):
            assert time.monotonic() < deadline, f"{name} not healthy; its log:\n{self.log(name).read_text()[-3000:]}"
            time.sleep(0.2)

    def healthy(self, name: str) -> bool:
        test = [self.here(name, word) for word in SERVICES[name]["healthcheck"]["test"][1:]]
        return self.run(name, *test).returncode == 0

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command beside the service, as `docker compose run` has it."""
        return subprocess.run(
            command, env=self.environment(name), cwd=self.folder / "homes", capture_output=True, text=True, check=False
        )

    def written_outside(self) -> list[Path]:
        """Files that services have written elsewhere than on their volumes: an image can be read only."""
        return [path for path in (self.folder / "homes").rglob("*") if path.is_file()]

    def close(self) -> None:
        for process in reversed(self.processes.values()):
            process.kill()
            process.wait()


def program_for(name: str) -> str | None:
    """Of a service that is no part of the dev extra."""
    return shutil.which(name)


@contextmanager
def compose_host(folder: Path, postgres_url: str, valkey_url: str) -> Iterator[ComposeHost]:
    """With an empty database: a worker would claim what other tests left in the queue of theirs."""
    urls = {"LAYERCUT_DATABASE_URL": empty_database(postgres_url), "LAYERCUT_BROKER_URL": valkey_url}
    (folder / "homes").mkdir(parents=True)
    host = ComposeHost(folder, urls)
    try:
        yield host
    finally:
        host.close()


def empty_database(postgres_url: str) -> str:
    name = f"compose_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
