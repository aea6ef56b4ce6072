"""Wake-ups through real brokers: a folder, and Valkey."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from store.broker import QUEUE, WAKE, celery_settings, ensure_folders

OpenApp = Callable[[], Celery]


@pytest.fixture(params=["filesystem", "redis"])
def open_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenApp]:
    """Makes Celery apps that share one broker, as the gateway and each worker have one."""
    url = f"filesystem://{tmp_path}/broker" if request.param == "filesystem" else request.getfixturevalue("valkey_url")
    apps: list[Celery] = []

    def make() -> Celery:
        app = Celery("test", set_as_current=False)
        app.conf.update(celery_settings(url))
        apps.append(app)
        return app

    with make().connection_for_write() as connection:
        connection.default_channel.queue_purge(QUEUE)  # the server is that of other tests, too
        yield make
        connection.default_channel.queue_purge(QUEUE)
    for app in apps:
        app.close()


def take(app: Celery) -> list[str]:
    """Take all messages that wait; the names of the handlers that they are for."""
    names = []
    with app.connection_for_read() as connection:
        while message := connection.default_channel.basic_get(QUEUE, no_ack=True):
            names.append(message.headers["task"])
    return names


def test_a_wakeup_reaches_another_app_once(open_app: OpenApp) -> None:
    gateway, worker = open_app(), open_app()
    gateway.send_task(WAKE)
    assert take(worker) == [WAKE]
    assert take(worker) == []


def test_every_message_is_taken_by_one_reader(open_app: OpenApp) -> None:
    gateway = open_app()
    workers = [open_app() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: gateway.send_task(WAKE), range(40)))
        taken = list(pool.map(take, workers))
    assert sum(map(len, taken)) == 40
    assert take(gateway) == []


def test_a_deleted_broker_folder_is_made_anew(tmp_path: Path) -> None:
    url = f"filesystem://{tmp_path}/broker"
    app = Celery("test", set_as_current=False)
    app.conf.update(celery_settings(url))
    app.send_task(WAKE)
    shutil.rmtree(tmp_path / "broker")
    assert take(app) == []
    app.send_task(WAKE)
    assert take(app) == [WAKE]
    assert list((tmp_path / "broker" / "messages").iterdir()) == []
    app.close()


def test_a_broker_that_is_away_is_reported_soon(tmp_path: Path) -> None:
    app = Celery("test", set_as_current=False)
    app.conf.update(celery_settings("redis://127.0.0.1:1/0"))
    with pytest.raises(OperationalError):
        app.send_task(WAKE)
    app.close()


def test_only_json_is_spoken_and_messages_are_acknowledged_early(tmp_path: Path) -> None:
    for url in (f"filesystem://{tmp_path}/broker", "redis://127.0.0.1/0", "amqp://127.0.0.1"):
        settings = celery_settings(url)
        assert settings["accept_content"] == ["json"]
        assert settings["task_acks_late"] is False
        assert settings["task_ignore_result"] is True
        assert "result_backend" not in settings


@pytest.mark.parametrize("url", ["filesystem://", "filesystem:///", "filesystem://relative/folder"])
def test_a_folder_broker_needs_an_absolute_folder(url: str) -> None:
    with pytest.raises(ValueError, match="filesystem:///absolute/folder"):
        ensure_folders(url)


def test_what_a_killed_sender_left_half_written_is_swept(tmp_path: Path) -> None:
    app = Celery("test", set_as_current=False)
    app.conf.update(celery_settings(f"filesystem://{tmp_path}/broker"))
    app.send_task(WAKE)
    messages = tmp_path / "broker" / "messages"
    old, new = messages / "1_a.layercut.new", messages / "2_b.layercut.new"
    for path in (old, new):
        path.write_text('{"half"')
    os.utime(old, (0, 0))
    assert take(app) == [WAKE]
    assert list(messages.iterdir()) == [new]
    app.close()
