"""The page as a person uses it: in a browser, on a service that does the jobs; only by clicking and typing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import PHONE, Window, chromium, window
from tests.support.page_rig import JOB_SECONDS, Rig, fill_in_job, rig, shell, shows
from tests.support.processes import eventually

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]

ENDED = re.compile("Succeeded|Failed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def own(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Needs no login."""
    with rig(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture
def desktop(browser: Browser, own: Rig) -> Iterator[Window]:
    with window(browser, own.address) as found:
        yield found


def stay(desktop: Window) -> None:
    """From here on, the page is to change by itself: a page that is loaded anew does not know this."""
    desktop.page.evaluate("window.stayed = true")


def check_stayed(desktop: Window) -> None:
    assert desktop.page.evaluate("window.stayed") is True


def upload(desktop: Window, label: str, files: list[Path]) -> None:
    desktop.open("/ui/uploads")
    section = desktop.page.get_by_role("region", name=f"Upload a {label}")
    section.locator('input[type="file"]').set_input_files(files)
    section.get_by_role("button", name="Upload").click()
    shows(desktop, "Ready")


def check_figures(desktop: Window) -> None:
    """Each picture of the page has come, and says in words what it shows."""
    images = desktop.page.locator("figure img")
    assert images.count() >= 2
    for image in images.all():
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("one => one.naturalWidth") > 0
        assert len(image.get_attribute("alt") or "") > 20


def test_from_an_empty_list_to_a_smaller_model(desktop: Window, own: Rig, tmp_path: Path) -> None:
    desktop.open("/")
    shows(desktop, "No job yet")
    upload(desktop, "table", [own.table])
    upload(desktop, "model", sorted(own.model.iterdir()))
    desktop.follow("Use in a job")
    assert desktop.heading() == "New job"
    uploaded = desktop.field("Model").input_value()
    assert uploaded.startswith("upload:")
    fill_in_job(desktop, own, model=uploaded)

    # It plans as one types.
    plan = desktop.page.locator("#plan")
    desktop.field("How many go").select_option("drop")
    value = desktop.field("Value")
    value.fill("3")
    expect(plan).to_contain_text("3 of 6 layers")
    value.fill("1")
    expect(plan).to_contain_text("5 of 6 layers")
    desktop.expect(422)
    value.fill("9")
    expect(desktop.page.locator("#wrong-value")).to_contain_text("6 layers")
    expect(value).to_have_attribute("aria-invalid", "true")
    value.fill("2")
    expect(desktop.page.locator("#wrong-value")).to_be_empty()
    desktop.field("Method").select_option("finetune")
    desktop.page.get_by_text("Advanced").click()
    desktop.field("Epochs").fill("30")
    desktop.field("Time batches of").fill("1")
    desktop.field("With lengths of, tokens").fill("16")
    desktop.press("Submit the job")

    # Its page changes by itself until the job has ended.
    expect(desktop.page.locator("#stages")).to_be_visible()
    stay(desktop)
    expect(desktop.page.locator("#curve")).to_be_visible(timeout=JOB_SECONDS * 1000)
    expect(desktop.page.locator("#stages .stage.done").first).to_be_visible()
    expect(desktop.page.locator("#job-status")).to_contain_text(ENDED, timeout=JOB_SECONDS * 1000)
    expect(desktop.page.locator("#job-status")).to_contain_text("Succeeded")
    check_stayed(desktop)
    for part in ("Verdict", "Before and after", "Layers", "Files", "Log", "Repeat it"):
        expect(desktop.page.get_by_role("heading", name=part, exact=True)).to_be_visible()
    expect(desktop.page.locator("#log")).not_to_be_empty()
    check_figures(desktop)

    with desktop.page.expect_download() as coming:
        desktop.follow("Download all (tar)")
    coming.value.save_as(tmp_path / "model.tar")
    check_sums(tmp_path / "model.tar")

    # What it says to copy does the same again.
    again = json.loads(shell(desktop.page.locator("#repeat-curl").inner_text()))
    assert again["model"] == uploaded
    desktop.open("/")
    expect(desktop.page.locator("tbody tr")).to_have_count(2)
    own.server.client.post(f"/v1/jobs/{again['id']}/cancel")


def check_sums(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        files = {Path(member.name).name: tar.extractfile(member) for member in tar if member.isfile()}
        contents = {name: file.read() for name, file in files.items() if file is not None}
    sums = [line.split(maxsplit=1) for line in contents["SHA256SUMS"].decode().splitlines()]
    assert {"config.json", "model.safetensors", "report.json"} <= {name for _, name in sums}
    for expected, name in sums:
        assert hashlib.sha256(contents[Path(name).name]).hexdigest() == expected


def test_repeat_with_changes_compare_cancel_and_delete(desktop: Window, own: Rig) -> None:
    first = own.ask(drop=1)
    assert own.ended(first) == "succeeded"
    desktop.open(f"/ui/jobs/{first}")
    desktop.follow("New job like this")
    assert desktop.field("Model").input_value() == str(own.model)
    value = desktop.field("Value")
    expect(value).to_have_value("1")
    value.fill("4")
    expect(desktop.page.locator("#plan")).to_contain_text("2 of 6 layers")
    desktop.press("Submit the job")
    expect(desktop.page.locator("#job-status")).to_contain_text("Succeeded", timeout=JOB_SECONDS * 1000)
    second = desktop.page.url.rsplit("/", 1)[1]

    desktop.open("/ui/compare")
    desktop.field("Job A").fill(first)
    desktop.field("Job B").fill(second)
    desktop.press("Compare")
    asked = desktop.page.get_by_role("region", name="What was asked for differently").first
    expect(asked).to_contain_text("prune.drop")
    shows(desktop, "What came of it")

    long = own.ask(recovery={"method": "finetune", "epochs": 500})
    desktop.open(f"/ui/jobs/{long}")
    stay(desktop)
    desktop.follow("Cancel")
    # The job goes on meanwhile, and the page with it; the question stays.
    eventually(lambda: own.server.client.get(f"/v1/jobs/{long}").json()["status"] == "running", JOB_SECONDS)
    expect(desktop.page.get_by_role("dialog")).to_be_visible()
    desktop.press("Cancel the job")
    expect(desktop.page.locator("#job-status")).to_contain_text("Cancelled", timeout=JOB_SECONDS * 1000)

    desktop.open(f"/ui/jobs/{second}")
    desktop.follow("Delete")
    desktop.press("Leave it")
    expect(desktop.page.get_by_role("dialog")).to_have_count(0)
    desktop.follow("Delete")
    desktop.press("Delete the job")
    assert desktop.heading() == "Jobs"
    expect(desktop.page.get_by_role("link", name="tiny")).not_to_have_count(0)
    desktop.expect(404)
    assert desktop.open(f"/ui/jobs/{second}") == 404


def test_a_study_by_its_form(desktop: Window, own: Rig) -> None:
    desktop.open("/ui/studies")
    desktop.follow("New study")
    page = desktop.page
    desktop.field("Models, one a line").fill(str(own.model))
    page.get_by_text("A table of your own").click()
    desktop.field("Table").fill(str(own.table))
    desktop.field("Text columns").fill("text")
    desktop.field("Label column").fill("mood")
    page.get_by_role("group", name="Strategies").get_by_label("bottom", exact=True).check()
    page.get_by_role("group", name="Methods").get_by_label("finetune").check()
    desktop.field("Seeds").fill("1")
    desktop.field("How many go").fill("1, 2, 3")
    expect(page.locator("#plan")).to_contain_text("6 cells")
    desktop.field("How many go").fill("1, 2")
    expect(page.locator("#plan")).to_contain_text("4 cells")
    desktop.press("Submit the study")

    expect(page.locator("#progress")).to_contain_text("4 cells")
    stay(desktop)
    expect(page.locator("#progress")).to_contain_text("4 succeeded", timeout=2 * JOB_SECONDS * 1000)
    expect(page.locator("#study-status")).to_contain_text("Finished")
    expect(page.locator("#study-actions")).to_contain_text("Delete")
    check_stayed(desktop)
    expect(page.locator(".study-table tbody > tr")).to_have_count(4)
    expect(page.locator(".figure-box svg").first).to_be_visible(timeout=30_000)
    with page.expect_download() as coming:
        desktop.follow("CSV")
    table = list(csv.DictReader(io.StringIO(Path(coming.value.path()).read_text(encoding="utf-8"))))
    assert [row["strategy"] for row in table] == ["top", "top", "bottom", "bottom"]

    desktop.field("Share of the score to keep").fill("0.5")
    desktop.press("Pick")
    expect(page.locator(".picked")).to_contain_text("dropped")
    expect(page.get_by_role("link", name="Download", exact=True)).to_be_visible()
    page.locator(".figure-box svg a").first.click()
    expect(page).to_have_url(re.compile("/ui/jobs/job_"))
    expect(page.locator("#job-status")).to_contain_text("Succeeded")


def test_the_workers_and_what_they_do(desktop: Window) -> None:
    desktop.open("/")
    desktop.follow("Workers")
    assert desktop.heading() == "Workers"
    expect(desktop.page.locator("#workers tbody tr")).to_have_count(1)


def test_without_scripts(browser: Browser, own: Rig) -> None:
    """Everything but what is live."""
    with window(browser, own.address, scripts=False, size=PHONE) as plain:
        page = plain.page
        plain.open("/ui/new")
        fill_in_job(plain, own)
        plain.field("How many go").select_option("drop")
        plain.field("Value").fill("2")
        plain.field("Method").select_option("none")
        plain.press("Plan")
        expect(page.locator("#plan")).to_contain_text("4 of 6 layers")
        plain.field("Value").fill("9")
        plain.expect(422)
        plain.press("Submit the job")
        expect(page.locator("#wrong-value")).to_contain_text("6 layers")
        plain.field("Value").fill("2")
        plain.press("Submit the job")
        job = page.url.rsplit("/", 1)[1]
        assert own.ended(job) == "succeeded"
        page.reload()
        expect(page.locator("#job-status")).to_contain_text("Succeeded")
        plain.follow("Jobs")
        expect(page.locator("tbody tr").first).to_contain_text("Succeeded")
        study = own.server.client.get("/v1/studies").json()["data"]
        if study:  # the other test's, which may run elsewhere
            plain.open(f"/ui/studies/{study[0]['id']}")
            shows(plain, "Table")
        plain.check_width()
