"""A real Chromium, without a window, for tests of pages: what it says goes wrong fails the test."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

#: As systems call it; playwright's own download is not asked for.
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed here")
    with sync_playwright() as driver:
        # In a container it has no sandbox of its own; it sees nothing but our pages.
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, base: str, **options: object) -> Iterator[Page]:
    """A page of a browser that nobody has used, at ``base``. Fails for what its console says, for an error of a script
    and for a request to anybody else.
    """
    context = browser.new_context(base_url=base, **options)  # type: ignore[arg-type]
    page, wrong = context.new_page(), []

    def heard(message: ConsoleMessage) -> None:
        # A figure that cannot be drawn here is hidden by a script of ours.
        if message.type in ("error", "warning") and "/figures/" not in message.location.get("url", ""):
            wrong.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(base) else wrong.append(request.url))
    try:
        yield page
    finally:
        context.close()
    assert wrong == []


@contextmanager
def served(app: FastAPI, options: dict[str, Any]) -> Iterator[str]:
    """The address of ``app`` under uvicorn, started."""
    started = threading.Event()

    class Told(uvicorn.Server):
        async def startup(self, *given: Any, **named: Any) -> None:
            await super().startup(*given, **named)
            started.set()

    server = Told(uvicorn.Config(app, **{**options, "port": 0}))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
