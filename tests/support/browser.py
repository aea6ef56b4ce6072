"""A browser of people: the system's Chromium, which tells what it asked for, what it refused and what went wrong."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, ViewportSize, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
#: For what a page does by itself; a job has longer.
SECONDS = 15

_REFUSED = re.compile(r"the server responded with a status of (\d+)")
_GRAVE = ("serious", "critical")
_AXE = Axe()
expect.set_options(timeout=SECONDS * 1000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Of a module at the most: while it is open, its event loop runs in this thread, and no other can."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """What happened in a browser's windows, of which nothing may be wrong at the end."""

    host: str
    foreign: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    #: Statuses of refusals that the test is about: a browser writes each into its console.
    expected: set[int] = field(default_factory=set)

    def asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != self.host:
            self.foreign.append(request.url)

    def said(self, message: ConsoleMessage) -> None:
        """What breaks the page's policy is among its errors."""
        if message.type not in ("error", "warning"):
            return
        status = _REFUSED.search(message.text)
        if status is None or int(status[1]) not in self.expected:
            self.wrong.append(f"console: {message.text} ({message.location.get('url')})")

    def follow(self, page: Page) -> None:
        page.on("request", self.asked)
        page.on("console", self.said)
        page.on("pageerror", lambda error: self.wrong.append(f"page: {error}"))

    def check(self) -> None:
        assert not self.foreign, f"pages asked other hosts: {self.foreign}"
        assert not self.wrong, "\n".join(self.wrong)


class Window:
    """A page that is open, and who looks at it."""

    def __init__(self, page: Page, watched: Watched) -> None:
        self.page, self.watched = page, watched

    def expect(self, *statuses: int) -> None:
        """That the test is about being refused so."""
        self.watched.expected.update(statuses)

    def open(self, path: str) -> int:
        """The status of the page."""
        answer = self.page.goto(path)
        assert answer is not None
        return answer.status

    def heading(self) -> str:
        """Once there is one: a page that is loaded is not laid out yet on cores that others load."""
        found = self.page.locator("h1")
        expect(found).to_have_text(re.compile(r"\S"))
        return found.inner_text()

    def field(self, label: str) -> Locator:
        """Of a form, by what stands beside it."""
        return self.page.locator("input, select, textarea").and_(self.page.get_by_label(label, exact=True))

    def follow(self, name: str | re.Pattern[str]) -> None:
        """Click the link of that name."""
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def press(self, name: str | re.Pattern[str]) -> None:
        """Click the button of that name."""
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def check_access(self) -> None:
        """Nothing that keeps somebody out, as axe-core sees it."""
        grave = [one for one in _AXE.run(self.page).response["violations"] if one["impact"] in _GRAVE]
        assert not grave, f"{self.page.url}\n" + "\n".join(map(_complaint, grave))

    def check_width(self) -> None:
        """Nothing sticks out: a page is not scrolled sideways."""
        over = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, f"{self.page.url} is {over} pixels wider than its window of {self.page.viewport_size}"


def _complaint(violation: dict[str, Any]) -> str:
    places = [f"    {' '.join(map(str, node['target']))}: {_reason(node)}" for node in violation["nodes"]]
    return "\n".join([f"{violation['impact']}: {violation['help']} ({violation['id']})", *places])


def _reason(node: dict[str, Any]) -> str:
    return "; ".join(one["message"] for kind in ("any", "all", "none") for one in node[kind])


@contextmanager
def window(
    browser: Browser,
    address: str,
    *,
    size: ViewportSize = DESKTOP,
    colours: Literal["light", "dark"] = "light",
    scripts: bool = True,
) -> Iterator[Window]:
    """One of its own, with no cookies; at its end, nothing of what it did may have gone wrong."""
    context = browser.new_context(
        base_url=address, viewport=size, color_scheme=colours, java_script_enabled=scripts, reduced_motion="reduce"
    )  # fmt: skip
    with closing(context):
        context.set_default_timeout(SECONDS * 1000)
        watched = Watched(urlsplit(address).netloc)
        context.on("page", watched.follow)
        yield Window(context.new_page(), watched)
        watched.check()


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
