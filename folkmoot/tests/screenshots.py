"""The pictures in docs/pictures: the pages in Chromium, on a database that `folkmoot seed` has filled.

Run as a module (`make docs`), this takes them anew.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from running import Service, run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
WIDE, PHONE = {"width": 1000, "height": 700}, {"width": 390, "height": 700}
#: Name, address, colours, window.
PICTURES = (
    ("front", "/", "light", WIDE),
    ("front-phone", "/", "dark", PHONE),
    ("post", "/p/1", "dark", WIDE),
    ("schema", "/schema", "light", {"width": 1240, "height": 1300}),
)


def take(browser: Browser, url: str) -> None:
    for name, path, scheme, window in PICTURES:
        context = browser.new_context(color_scheme=scheme, viewport=window)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(url + path)
        page.screenshot(path=FOLDER / f"{name}.png")
        context.close()


def main() -> None:
    program = shutil.which("chromium")
    if program is None:
        print("Chromium is not installed: docs/pictures are left as they are")
        return
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Service(Path(folder)) as service,
        sync_playwright() as playwright,
    ):
        seeded = run(
            Path(folder), "seed", "--users", "40", "--posts", "120", "--votes", "900", "--comments", "600"
        )
        assert seeded.returncode == 0, seeded.stderr
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=options)
        take(browser, service.url)
        browser.close()


if __name__ == "__main__":
    main()
