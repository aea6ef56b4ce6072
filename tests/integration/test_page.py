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
def desk(browser: Browser, own: Rig) -> Iterator[Window]:
    with window(browser, own.address) as found:
        yield found


def stay(desk: Window) -> None:
    """From here on, the page is to change by itself: a page that is loaded anew does not know this."""
    desk.page.evaluate("window.stayed = true")


def check_stayed(desk: Window) -> None:
    assert desk.page.evaluate("window.stayed") is True


def upload(desk: Window, label: str, files: list[Path]) -> None:
    desk.open("/ui/uploads")
    section = desk.page.get_by_role("region", name=f"Upload a {label}")
    section.locator('input[type="file"]').set_input_files(files)
    section.get_by_role("button", name="Upload").click()
    shows(desk, "Ready")


def check_figures(desk: Window) -> None:
    """Each picture of the page has come, and says in words what it shows."""
    images = desk.page.locator("figure img")
    assert images.count() >= 2
    for image in images.all():
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("one => one.naturalWidth") > 0
        assert len(image.get_attribute("alt") or "") > 20


def test_from_an_empty_list_to_a_smaller_model(desk: Window, own: Rig, tmp_path: Path) -> None:
    desk.open("/")
    shows(desk, "No job yet")
    upload(desk, "table", [own.table])
    upload(desk, "model", sorted(own.model.iterdir()))
    desk.follow("Use in a job")
    assert desk.heading() == "New job"
    uploaded = desk.field("Model").input_value()
    assert uploaded.startswith("upload:")
    fill_in_job(desk, own, model=uploaded)

    # It plans as one types.
    plan = desk.page.locator("#plan")
    desk.field("How many go").select_option("drop")
    value = desk.field("Value")
    value.fill("3")
    expect(plan).to_contain_text("3 of 6 layers")
    value.fill("1")
    expect(plan).to_contain_text("5 of 6 layers")
    desk.expect(422)
    value.fill("9")
    expect(desk.page.locator("#wrong-value")).to_contain_text("6 layers")
    expect(value).to_have_attribute("aria-invalid", "true")
    value.fill("2")
    expect(desk.page.locator("#wrong-value")).to_be_empty()
    desk.field("Method").select_option("finetune")
    desk.page.get_by_text("Advanced").click()
    desk.field("Epochs").fill("30")
    desk.field("Time batches of").fill("1")
    desk.field("With lengths of, tokens").fill("16")
    desk.press("Submit the job")

    # Its page changes by itself until the job has ended.
    expect(desk.page.locator("#stages")).to_be_visible()
    stay(desk)
    expect(desk.page.locator("#curve")).to_be_visible(timeout=JOB_SECONDS * 1000)
    expect(desk.page.locator("#stages .stage.done").first).to_be_visible()
    expect(desk.page.locator("#job-status")).to_contain_text(ENDED, timeout=JOB_SECONDS * 1000)
    expect(desk.page.locator("#job-status")).to_contain_text("Succeeded")
    check_stayed(desk)
    for part in ("Verdict", "Before and after", "Layers", "Files", "Log", "Repeat it"):
        expect(desk.page.get_by_role("heading", name=part, exact=True)).to_be_visible()
    expect(desk.page.locator("#log")).not_to_be_empty()
    check_figures(desk)

    with desk.page.expect_download() as coming:
        desk.follow("Download all (tar)")
    coming.value.save_as(tmp_path / "model.tar")
    check_sums(tmp_path / "model.tar")

    # What it says to copy does the same again.
    again = json.loads(shell(desk.page.locator("#repeat-curl").inner_text()))
    assert again["model"] == uploaded
    desk.open("/")
    expect(desk.page.locator("tbody tr")).to_have_count(2)
    own.server.client.post(f"/v1/jobs/{again['id']}/cancel")


def check_sums(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        files = {Path(member.name).name: tar.extractfile(member) for member in tar if member.isfile()}
        contents = {name: file.read() for name, file in files.items() if file is not None}
    sums = [line.split(maxsplit=1) for line in contents["SHA256SUMS"].decode().splitlines()]
    assert {"config.json", "model.safetensors", "report.json"} <= {name for _, name in sums}
    for expected, name in sums:
        assert hashlib.sha256(contents[Path(name).name]).hexdigest() == expected


def test_repeat_with_changes_compare_cancel_and_delete(desk: Window, own: Rig) -> None:
    first = own.ask(drop=1)
    assert own.ended(first) == "succeeded"
    desk.open(f"/ui/jobs/{first}")
    desk.follow("New job like this")
    assert desk.field("Model").input_value() == str(own.model)
    value = desk.field("Value")
    expect(value).to_have_value("1")
    value.fill("4")
    expect(desk.page.locator("#plan")).to_contain_text("2 of 6 layers")
    desk.press("Submit the job")
    expect(desk.page.locator("#job-status")).to_contain_text("Succeeded", timeout=JOB_SECONDS * 1000)
    second = desk.page.url.rsplit("/", 1)[1]

    desk.open("/ui/compare")
    desk.field("Job A").fill(first)
    desk.field("Job B").fill(second)
    desk.press("Compare")
    asked = desk.page.get_by_role("region", name="What was asked for differently").first
    expect(asked).to_contain_text("prune.drop")
    shows(desk, "What came of it")

    long = own.ask(recovery={"method": "finetune", "epochs": 500})
    desk.open(f"/ui/jobs/{long}")
    stay(desk)
    desk.follow("Cancel")
    # The job goes on meanwhile, and the page with it; the question stays.
    eventually(lambda: own.server.client.get(f"/v1/jobs/{long}").json()["status"] == "running", JOB_SECONDS)
    expect(desk.page.get_by_role("dialog")).to_be_visible()
    desk.press("Cancel the job")
    expect(desk.page.locator("#job-status")).to_contain_text("Cancelled", timeout=JOB_SECONDS * 1000)

    desk.open(f"/ui/jobs/{second}")
    desk.follow("Delete")
    desk.press("Leave it")
    expect(desk.page.get_by_role("dialog")).to_have_count(0)
    desk.follow("Delete")
    desk.press("Delete the job")
    assert desk.heading() == "Jobs"
    expect(desk.page.get_by_role("link", name="tiny")).not_to_have_count(0)
    desk.expect(404)
    assert desk.open(f"/ui/jobs/{second}") == 404


def test_a_study_by_its_form(desk: Window, own: Rig) -> None:
    desk.open("/ui/studies")
    desk.follow("New study")
    page = desk.page
    desk.field("Models, one a line").fill(str(own.model))
    page.get_by_text("A table of your own").click()
    desk.field("Table").fill(str(own.table))
    desk.field("Text columns").fill("text")
    desk.field("Label column").fill("mood")
    page.get_by_role("group", name="Strategies").get_by_label("bottom", exact=True).check()
    page.get_by_role("group", name="Methods").get_by_label("finetune").check()
    desk.field("Seeds").fill("1")
    desk.field("How many go").fill("1, 2, 3")
    expect(page.locator("#plan")).to_contain_text("6 cells")
    desk.field("How many go").fill("1, 2")
    expect(page.locator("#plan")).to_contain_text("4 cells")
    desk.press("Submit the study")

    expect(page.locator("#progress")).to_contain_text("4 cells")
    stay(desk)
    expect(page.locator("#progress")).to_contain_text("4 succeeded", timeout=2 * JOB_SECONDS * 1000)
    expect(page.locator("#study-status")).to_contain_text("Finished")
    expect(page.locator("#study-actions")).to_contain_text("Delete")
    check_stayed(desk)
    expect(page.locator(".study-table tbody > tr")).to_have_count(4)
    expect(page.locator(".figure-box svg").first).to_be_visible(timeout=30_000)
    with page.expect_download() as coming:
        desk.follow("CSV")
    table = list(csv.DictReader(io.StringIO(Path(coming.value.path()).read_text(encoding="utf-8"))))
    assert [row["strategy"] for row in table] == ["top", "top", "bottom", "bottom"]

    desk.field("Share of the score to keep").fill("0.5")
    desk.press("Pick")
    expect(page.locator(".picked")).to_contain_text("dropped")
    expect(page.get_by_role("link", name="Download", exact=True)).to_be_visible()
    page.locator(".figure-box svg a").first.click()
    expect(page).to_have_url(re.compile("/ui/jobs/job_"))
    expect(page.locator("#job-status")).to_contain_text("Succeeded")


def test_the_workers_and_what_they_do(desk: Window) -> None:
    desk.open("/")
    desk.follow("Workers")
    assert desk.heading() == "Workers"
    expect(desk.page.locator("#workers tbody tr")).to_have_count(1)


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
