"""What a script adds, in a real Chromium: what is live, the colours, the questions before something is done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from api_schemas.events import EventType
from api_schemas.tenants import Scope
from service.app import create_app, server_options
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.access import key_of
from tests.support.browser import chromium, opened, served
from tests.support.events import say
from tests.support.gateway_worker import claim, succeed

pytestmark = pytest.mark.slow

#: What a script of ours sends, with the token of its page.
CANCEL_ALL = """fetch("/v1/jobs/cancel", {
  method: "POST",
  headers: {
    "Content-Type": "application/json",
    "X-CSRF-Token": document.querySelector("meta[name=csrf-token]").content,
  },
  body: JSON.stringify({status: ["queued"]}),
}).then((answer) => answer.status)"""

Live = tuple[str, GatewayState]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, live: Live) -> Iterator[Page]:
    with opened(browser, live[0]) as page:
        yield page


@pytest.fixture
def job_id(live: Live, body: dict[str, Any]) -> str:
    found: str = httpx.post(f"{live[0]}/v1/jobs", json=body, trust_env=False).json()["id"]
    return found


def test_a_job_is_watched_to_its_end(page: Page, live: Live, job_id: str, tmp_path: Path) -> None:
    state = live[1]
    page.goto(f"/ui/jobs/{job_id}")
    expect(page.locator("#job-status")).to_contain_text("Queued")
    taken = claim(state)
    expect(page.locator("#job-status")).to_contain_text("Running")
    state.store.record(taken.lease, say(EventType.STAGE, "…", stage="recovering"))
    current = page.locator("#stages [aria-current=step]")
    expect(current).to_contain_text("Recovering")
    for step in (10, 20, 30):
        more = {"fraction": step / 60, "step": step, "total_steps": 60, "loss": 1 / step, "eta_seconds": 90.0}
        state.store.record(taken.lease, say(EventType.PROGRESS, "…", **more))
    expect(page.locator("#progress-share")).to_have_text("50 %")
    expect(page.locator("#progress-eta")).to_have_text("1 min 30 s left")
    expect(page.locator("#progress-step")).to_have_text("step 30 of 60 · loss 0.033")
    expect(page.locator("#curve-svg polyline")).to_have_count(1)
    assert len(str(page.locator("#curve-svg polyline").get_attribute("points")).split()) == 3
    state.store.write_log(taken.lease, "<b>one</b>\n", 0, 2**20)
    expect(page.locator("#log")).to_have_text("<b>one</b>")
    succeed(state, taken, tmp_path / "scratch")
    expect(page.locator("#job-status")).to_contain_text("Succeeded")
    expect(page.get_by_role("heading", name="Before and after")).to_be_visible()
    expect(page.locator(".facts time").first).to_have_text(re.compile("now|minute"))


def test_the_list_goes_on_by_itself(page: Page, live: Live, job_id: str) -> None:
    page.goto("/")
    expect(page.locator("#jobs")).to_contain_text("Queued")
    claim(live[1])
    expect(page.locator("#jobs")).to_contain_text("Running", timeout=15_000)


def test_a_question_is_asked_before_a_job_is_cancelled(page: Page, live: Live, job_id: str) -> None:
    page.goto(f"/ui/jobs/{job_id}")
    page.get_by_role("link", name="Cancel").click()
    asked = page.get_by_role("dialog", name="Cancel this job?")
    expect(asked).to_be_visible()
    page.keyboard.press("Escape")
    expect(asked).to_be_hidden()
    page.get_by_role("link", name="Cancel").click()
    asked.get_by_role("button", name="Cancel the job").click()
    expect(page.locator("#job-status")).to_contain_text("Cancelled")
    assert live[1].store.get(job_id).status == "cancelled"


def test_colours_that_were_chosen_stay(page: Page) -> None:
    page.goto("/")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate(ground) != light
    page.goto("/ui/workers")
    assert page.evaluate(ground) != light
    expect(page.get_by_role("button", name="Dark colours")).to_have_attribute("aria-pressed", "true")


def test_the_keyboard_reaches_the_content_first(page: Page, job_id: str) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser: Browser, live: Live, job_id: str, width: int) -> None:
    with opened(browser, live[0], viewport={"width": width, "height": 800}) as page:
        for path in ("/", f"/ui/jobs/{job_id}", f"/ui/jobs/{job_id}/cancel", "/ui/workers"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path


def test_all_of_it_reads_without_a_script(browser: Browser, live: Live, job_id: str) -> None:
    with opened(browser, live[0], java_script_enabled=False) as page:
        page.goto("/")
        page.get_by_role("link", name=re.compile("bert")).click()
        expect(page.locator("#job-status")).to_contain_text("Queued")
        page.get_by_role("link", name="Cancel").click()
        page.get_by_role("button", name="Cancel the job").click()
        expect(page.locator("#job-status")).to_contain_text("Cancelled")


def test_one_logs_in_and_out(browser: Browser, settings: GatewaySettings) -> None:
    app = create_app(settings.model_copy(update={"auth": "on"}))
    with served(app, server_options(settings)) as base, opened(browser, base) as page:
        key = key_of(app.state.gateway, "team-a", Scope.SUBMIT)
        page.goto("/ui/workers")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Workers")).to_be_visible()
        assert page.evaluate("document.cookie") == "", "no script reads it"
        assert page.evaluate(CANCEL_ALL) == 200
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
