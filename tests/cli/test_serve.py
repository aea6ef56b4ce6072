"""`layercut serve`: two children that are kept running, and that never outlive their parent."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from store.database import migrate, open_engine
from tests.support.processes import eventually, gone
from tests.support.serve_process import LAYERCUT, Served, environment, served


def replaced(server: Served, name: str, old: psutil.Process) -> bool:
    child = server.child(name)
    return child is not None and child.pid != old.pid


@pytest.mark.slow
def test_it_answers_replaces_a_killed_child_and_ends_as_a_whole(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        assert server.healthy()
        assert (server.data / "layercut.db").exists()
        for name in ("gateway", "worker"):
            child = server.child(name)
            assert child is not None
            child.kill()
            eventually(lambda name=name, child=child: replaced(server, name, child))
            assert f"the {name} ended with SIGKILL" in server.log.read_text()
        eventually(server.healthy)
        eventually(lambda: server.runner)

        everyone = server.everyone()
        assert len(everyone) >= 4
        assert server.stop() == 0
        eventually(lambda: all(gone(process.pid) for process in everyone))


@pytest.mark.slow
def test_the_children_follow_a_parent_that_was_killed(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        everyone = server.everyone()
        server.process.kill()
        server.process.wait()
        eventually(lambda: all(gone(process.pid) for process in everyone))


def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [*LAYERCUT, "serve", "--port", str(port), "--data-dir", tmp_path],
            env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stdout
    assert ("this runs as root" in done.stderr) == (os.geteuid() == 0)


@pytest.mark.parametrize("command", [["serve"], ["worker"], ["run", __file__, "--out", "out"]])
def test_without_the_worker_extra_it_says_what_to_install(tmp_path: Path, command: list[str]) -> None:
    # None in sys.modules is how Python marks a module that is not there.
    start = "import sys; sys.modules['torch'] = None; from cli.main import app; app()"
    done = subprocess.run(
        [LAYERCUT[0], "-P", "-c", start, *command],
        env=environment(data_dir=tmp_path), capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'layercut[worker]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["gateway", "--port", "0"], ["worker"]])
def test_a_database_of_a_newer_layercut_is_told_in_one_sentence(tmp_path: Path, command: list[str]) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/layercut.db")
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    done = subprocess.run(
        [*LAYERCUT, *command],
        env=environment(data_dir=tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "layercut: the database is at revision 9999, and the newest that this layercut knows is"
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_children_of_one_that_runs_as_root_do_not_warn_again(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        eventually(lambda: server.runner)
        assert server.log.read_text().count("this runs as root") == (os.geteuid() == 0)
