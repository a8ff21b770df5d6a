"""What axe-core finds on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page


def complaints(page: Page) -> list[str]:
    """What is wrong with a page, each with the elements."""
    found = Axe().run(page).response["violations"]
    return [f"{page.url}: {one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]
