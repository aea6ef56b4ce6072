"""The page for whoever has a key, whoever has none, whoever has no mouse, and whoever does not see it as we do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest
from playwright.sync_api import Browser, expect

from api_schemas.tenants import Scope
from tests.support.browser import DESKTOP, PHONE, Window, chromium, window
from tests.support.page_rig import Rig, fill_in_job, new_key, rig, shows
from tests.support.processes import eventually

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def guarded(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Asks for keys."""
    with rig(tmp_path_factory.mktemp("served"), auth="on") as found:
        yield found


def log_in(seen: Window, key: str) -> None:
    seen.field("API key").fill(key)
    with seen.page.expect_navigation():
        seen.press("Log in")


def test_a_key_opens_what_is_its_tenants_alone(browser: Browser, guarded: Rig) -> None:
    key, admin, others = (new_key(guarded.server, *of) for of in (("a",), ("a", Scope.ADMIN), ("b",)))
    job = guarded.ask(key)
    with window(browser, guarded.address) as seen, window(browser, guarded.address) as other:
        seen.open(f"/ui/jobs/{job}")
        assert seen.heading() == "Log in"
        seen.expect(401)
        log_in(seen, "lc_no_key_at_all")
        shows(seen, "This key is not valid")
        log_in(seen, key)
        # Where one wanted to go.
        expect(seen.page).to_have_url(f"{guarded.address}/ui/jobs/{job}")
        assert seen.page.evaluate("document.cookie") == ""

        other.open("/")
        log_in(other, others)
        shows(other, "No job yet")
        other.expect(404)
        assert other.open(f"/ui/jobs/{job}") == httpx.codes.NOT_FOUND

        seen.press("Log out")
        assert seen.heading() == "Log in"
        seen.open("/")
        assert seen.heading() == "Log in"
        log_in(seen, key)
        assert seen.heading() == "Jobs"
        revoked = guarded.server.client.delete(
            f"/v1/keys/{key.rpartition('_')[0]}", headers={"Authorization": f"Bearer {admin}"}
        )
        assert revoked.status_code == httpx.codes.OK, revoked.text

        def sent_away() -> bool:
            seen.page.reload()
            return seen.heading() == "Log in"

        # A gateway may know a key for 15 seconds.
        eventually(sent_away, 60)


def test_a_keyboard_is_enough(browser: Browser, guarded: Rig) -> None:
    with window(browser, guarded.address) as seen:
        page = seen.page
        seen.open("/")
        log_in(seen, new_key(guarded.server, "a"))
        page.keyboard.press("Tab")
        assert focused(seen) == "Skip to the content"
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()
        tab_to(seen, "New job")
        page.keyboard.press("Enter")
        page.wait_for_url("**/ui/new*")

        order = []
        for label in ("Model", "Task", "Which ones go", "How many go", "Value", "Method", "Seed"):
            tab_to(seen, label)
            order.append(page.evaluate("document.activeElement.getBoundingClientRect().top + scrollY"))
            if label == "Model":
                page.keyboard.type(str(guarded.model))
                page.keyboard.press("Escape")
            if label == "Task":
                page.keyboard.type("none")
            if label == "How many go":
                page.keyboard.press("ArrowDown")
            if label == "Value":
                page.keyboard.type("2")
        assert all(above <= below for above, below in pairwise(order)), "the focus goes up the page"
        expect(page.locator("#plan")).to_contain_text("4 of 6 layers")
        tab_to(seen, "Submit the job")
        page.keyboard.press("Enter")
        page.wait_for_url("**/ui/jobs/job_*")


def focused(seen: Window) -> str:
    """What has the focus, as it is called."""
    return str(
        seen.page.evaluate(
            "(document.activeElement.labels?.[0] ?? document.activeElement).innerText?.trim().split('\\n')[0] ?? ''"
        )
    )


def tab_to(seen: Window, name: str, most: int = 60) -> None:
    """By the key alone; all that is passed shows that it has the focus."""
    for _ in range(most):
        seen.page.keyboard.press("Tab")
        # After the last, the browser's own parts have it.
        ring = seen.page.evaluate(
            "document.activeElement === document.body ? 'away' : getComputedStyle(document.activeElement).outlineStyle"
        )
        assert ring != "none", f"{focused(seen)!r} does not show that it has the focus"
        if focused(seen) == name:
            return
    raise AssertionError(f"Tab does not come to {name!r}")


def test_nothing_keeps_anybody_out_and_nothing_sticks_out(browser: Browser, guarded: Rig) -> None:
    """axe on every page: at a desktop in light colours, on a phone in dark ones."""
    key = new_key(guarded.server, "c")
    job, other = guarded.ask(key), guarded.ask(key, drop=3)
    headers = {"Authorization": f"Bearer {key}"}
    asked = guarded.job()
    lists = {"models": [asked["model"]], "tasks": [asked["task"]], "recoveries": [asked["recovery"]], "drops": [1, 3]}
    study = guarded.server.client.post("/v1/studies", headers=headers, json={**lists, "seeds": [42, 43]})
    assert study.is_success, study.text
    guarded.server.client.headers.update(headers)
    assert guarded.ended(job) == guarded.ended(other) == "succeeded"
    guarded.server.client.headers.pop("Authorization")
    form = f"model={guarded.model}&task=none&amount=drop&value=2"
    pages = (
        "/", f"/ui/jobs/{job}", f"/ui/jobs/{job}/delete", f"/ui/new?{form}", "/ui/new", "/ui/uploads",
        "/ui/studies", "/ui/studies/new", f"/ui/studies/{study.json()['id']}?min_retention=0.5",
        f"/ui/compare?a={job}&b={other}", "/ui/workers", "/ui/jobs/job_missing",
    )  # fmt: skip
    with window(browser, guarded.address) as seen:
        seen.expect(404)
        seen.open("/")
        check_all(seen)
        log_in(seen, key)
        for path in pages:
            seen.open(path)
            check_all(seen)


def check_all(seen: Window) -> None:
    seen.page.set_viewport_size(DESKTOP)
    seen.page.emulate_media(color_scheme="light")
    seen.check_width()
    seen.check_access()
    seen.page.set_viewport_size(PHONE)
    seen.page.emulate_media(color_scheme="dark")
    seen.check_width()
    seen.check_access()


def test_a_form_of_a_table_by_a_reader_of_labels(browser: Browser, guarded: Rig) -> None:
    """Every field has a name, and what is wrong with it is told with it."""
    with window(browser, guarded.address) as seen:
        seen.open("/ui/new")
        log_in(seen, new_key(guarded.server, "a"))
        fill_in_job(seen, guarded)
        seen.expect(422)
        seen.field("Label column").fill("no such column")
        table = seen.field("Table")
        expect(table).to_have_attribute("aria-invalid", "true")
        told = seen.page.locator(f"#{(table.get_attribute('aria-describedby') or '').split()[-1]}")
        expect(told).to_contain_text("mood")
