"""Every page, found by walking: its policy, what it loads, who may see it, and that it works below a prefix."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx import Response

from api_schemas.tenants import Scope
from service.app import create_app
from service.pages.assets import FOLDER
from service.pages.environment import POLICY
from service.pages.routers import OPEN_PAGES, PAGES, PAGES_LAST
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.access import key_of
from tests.support.pages import Elements, log_in, send

TEMPLATES = Path(__file__).parents[3] / "service" / "pages" / "templates"
NOBODY = "job_000000000000000000000000"


def walked(routers: tuple[object, ...], method: str) -> list[str]:
    routes = [route for router in routers for route in router.routes]  # type: ignore[attr-defined]
    return sorted({route.path for route in routes if isinstance(route, APIRoute) and method in (route.methods or ())})


READ = walked((*PAGES, PAGES_LAST), "GET")
SENT = walked((*PAGES, PAGES_LAST), "POST")
ENTRANCE = ["/ui/login"]


def filled(path: str, job_id: str = NOBODY) -> str:
    names = {"job_id": job_id, "action": "delete", "rest": "nowhere"}
    return re.sub(r"\{(\w+)(:path)?\}", lambda found: names.get(found[1], "std_000000000000000000000000"), path)


def check(page: Response) -> None:
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"] == POLICY
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers.get_list("Referrer-Policy") == ["same-origin"]
    elements = Elements(page.text)
    assert all("src" in script for script in elements.named("script"))
    assert not elements.named("style", "iframe", "object", "embed", "base")
    for tag, attributes in elements.found:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], (tag, attributes)
    assert [address for address in elements.addresses if not re.match(r"[/#]", address)] == []
    assert elements.named("main")
    assert len(elements.named("h1")) == 1
    assert elements.named("html")[0]["lang"] == "en"


def test_the_walk_finds_the_pages() -> None:
    assert {"/", "/ui/jobs/{job_id}", "/ui/workers", "/ui/{rest:path}"} <= set(READ)
    assert {"/ui/jobs/{job_id}/{action}"} <= set(SENT)
    assert set(walked(OPEN_PAGES, "GET")) == {"/ui/login", "/ui/static/{name}"}
    assert set(walked(OPEN_PAGES, "POST")) == {"/ui/login", "/ui/logout"}


@pytest.mark.parametrize("path", READ)
def test_a_page_keeps_to_the_policy(refusing: TestClient, path: str) -> None:
    check(refusing.get(filled(path)))


@pytest.mark.parametrize("path", READ)
def test_a_page_of_what_exists_keeps_to_the_policy(client: TestClient, finished: str, path: str) -> None:
    page = client.get(filled(path, finished))
    if page.headers["Content-Type"].startswith("text/html"):
        check(page)


#: Streams, what draws with a library that may not be there, and forms that need more than there is.
NOT_FOLLOWED = re.compile(r"#|.*/(figures/.*|events|delete)$|/ui/(new|studies)")


def test_links_of_pages_lead_somewhere(client: TestClient, finished: str) -> None:
    pages = [client.get(path) for path in ("/", "/ui/workers", f"/ui/jobs/{finished}")]
    links = {link for page in pages for link in Elements(page.text).addresses if not NOT_FOLLOWED.match(link)}
    assert len(links) > 15
    for link in sorted(links):
        assert client.get(link).status_code == 200, link


@pytest.mark.parametrize("path", [*SENT, "/ui/logout", "/ui/login"])
def test_a_form_without_its_token_is_refused(client: TestClient, path: str) -> None:
    if path == "/ui/{rest:path}":
        return
    right = {"content-type": "application/x-www-form-urlencoded"}
    for sent in ("", "csrf=", "csrf=wrong", "csrf=%C3%A9"):
        answer = client.post(filled(path), content=sent, headers=right, follow_redirects=False)
        assert answer.status_code in (403, 415), (path, answer.status_code)
        check(answer)


@pytest.fixture
def guarded(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"auth": "on"})


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_session_every_page_leads_to_the_login(guarded: GatewaySettings, method: str) -> None:
    with TestClient(create_app(guarded)) as client:
        for path in READ if method == "GET" else SENT:
            answer = client.request(method, filled(path), follow_redirects=False)
            assert answer.status_code == 303, path
            assert answer.headers["Location"].startswith("/ui/login"), path
        for path in ENTRANCE:
            check(client.get(path))


def test_a_key_that_reads_sees_all_and_changes_nothing(guarded: GatewaySettings) -> None:
    with TestClient(create_app(guarded)) as client:
        state: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
        page = log_in(client, key_of(state, "team-a", Scope.READ))
        assert page.status_code == 200
        assert "New job" not in page.text
        for path in SENT:
            answer = send(client, filled(path), page)
            assert answer.status_code == 403, path
            check(answer)


@pytest.mark.parametrize("root", ["/ml/layercut"])
def test_below_a_prefix_every_address_has_it(settings: GatewaySettings, root: str) -> None:
    with TestClient(create_app(settings.model_copy(update={"root_path": root}))) as client:
        for prefix in ("", root):
            for path in READ:
                page = client.get(prefix + filled(path))
                check(page)
                addresses = [one for one in Elements(page.text).addresses if not one.startswith("#")]
                assert addresses
                assert [one for one in addresses if not one.startswith(f"{root}/")] == []
                assert "Path=/ml/layercut" in page.headers.get("Set-Cookie", "Path=/ml/layercut")
        assert client.get(f"{root}/ui/login", follow_redirects=False).headers["Location"] == f"{root}/"
        assert client.get(root, follow_redirects=False).status_code in (200, 307)


@pytest.mark.parametrize(
    "template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES))
)
def test_no_template_has_a_script_or_a_style_of_its_own(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:|hx-on|hx-vals=.js", text) == []
    assert re.findall(r"https?://", text) == []
    # What is safe is ours: the signs of macros.html.
    assert text.count("| safe") == (1 if template.name == "macros.html" else 0)


def test_what_is_vendored_is_what_it_says() -> None:
    said = (FOLDER / "README").read_text(encoding="utf-8")
    hashed = re.search(r"sha256 ([0-9a-f]{64})", said)
    assert hashed
    script = (FOLDER / "htmx.min.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() == hashed[1]
    assert b'version:"2.0.10"' in script
    assert "htmx 2.0.10" in said


def test_files_are_kept_for_as_long_as_they_are_the_same(refusing: TestClient) -> None:
    found = [one for one in Elements(refusing.get("/").text).addresses if "/static/" in one]
    assert len(found) >= 5
    for address in found:
        file = refusing.get(address)
        assert file.status_code == 200
        assert file.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert refusing.get(address.partition("?")[0]).headers["Cache-Control"] == "no-cache"
        assert refusing.get(address[:-2] + "xx").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["README", "../environment.py", "..%2fenvironment.py", "x.js", "%00"])
def test_nothing_else_of_the_folder_is_served(refusing: TestClient, name: str) -> None:
    assert refusing.get(f"/ui/static/{name}").status_code in (400, 404)


@pytest.mark.parametrize("path", ["/", "/ui/workers", "/ui/jobs/x"])
def test_people_come_by_links_from_other_sites(refusing: TestClient, path: str) -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert refusing.get(path, headers=visit).status_code in (200, 404)
    framed = {**visit, "Sec-Fetch-Dest": "iframe"}
    assert refusing.get(path, headers=framed).status_code == 403
    assert refusing.post("/ui/logout", headers=visit).status_code == 403


def test_pages_stand_in_no_document(client: TestClient) -> None:
    assert not [path for path in client.get("/openapi.json").json()["paths"] if path == "/" or path.startswith("/ui")]
