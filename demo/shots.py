"""Looks at pages through the system's Chromium, and keeps what it sees as small PNGs."""

from __future__ import annotations

import io
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from server import DemoError

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
MOST_BYTES, MOST_HIGH = 150_000, 3000
SCREENS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True},
}
#: Figures below the window's end come when one gets there: here, at once.
_ALL_THERE = """async () => {
  for (const image of document.images) image.loading = 'eager';
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
  await document.fonts.ready;
  document.getElementById('toast').hidden = true;
}"""


#: The workers' page says where Python lies on this machine, and how the machine is called.
_HIDE = """host => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    text.data = text.data.replace(/[/]\\S*[/](python[0-9.]*)/g, '$1');
    if (text.data.startsWith(`${host}-`)) text.data = `worker${text.data.slice(host.length)}`;
  }
}"""


class Views:
    def __init__(self, browser: Browser, base: str, folder: Path) -> None:
        self.browser, self.base, self.folder = browser, base, folder

    def take(self, paths: Mapping[str, str]) -> None:
        """A picture of each page on each screen, light and dark."""
        for screen, options in SCREENS.items():
            for colours in ("light", "dark"):
                context = self.browser.new_context(
                    base_url=self.base, color_scheme=colours, reduced_motion="reduce", **options
                )
                page = context.new_page()
                for name, path in paths.items():
                    self._keep(page, path, self.folder / f"{name}-{screen}-{colours}.png")
                context.close()

    def upload(self, kind: str, files: Sequence[Path], name: str) -> None:
        """As a person does it."""
        context = self.browser.new_context(base_url=self.base)
        page = context.new_page()
        page.goto("/ui/uploads")
        form = page.locator(f"form.send:has(#file-{kind})")
        form.locator('input[type="file"]').set_input_files(files)
        form.get_by_label("Name").fill(name)
        form.get_by_role("button", name="Upload").click()
        page.wait_for_url("**/ui/uploads/*/upl_*")
        context.close()

    def _keep(self, page: Page, path: str, target: Path) -> None:
        page.goto(path)
        page.evaluate(_ALL_THERE)
        # Scripts have said how long ago things were, and a live curve has its points.
        page.wait_for_timeout(700)
        page.evaluate(_HIDE, socket.gethostname())
        page.evaluate("scrollTo(0, 0)")
        shot = Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled"))).convert("RGB")
        shot = shot.crop((0, 0, shot.width, min(shot.height, MOST_HIGH)))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(small(shot))
        print(f"  {target.name}: {shot.width} x {shot.height}, {target.stat().st_size // 1000} KB")


def small(shot: Image.Image) -> bytes:
    """With as many colours as fit."""
    for colours in (256, 128, 64, 32, 16):
        kept = io.BytesIO()
        shot.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            kept, "PNG", optimize=True
        )
        if kept.tell() <= MOST_BYTES:
            break
    return kept.getvalue()


@contextmanager
def views(base: str, folder: Path) -> Iterator[Views]:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        raise DemoError("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield Views(browser, base.rstrip("/"), folder)
        finally:
            browser.close()
