"""Somebody at a browser who does what pages offer, by the words that stand on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from api import PASSWORD
from folkmoot.pages.texts import text

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator


class Someone:
    """A person and their browser."""

    def __init__(self, context: BrowserContext, url: str, name: str, email: str) -> None:
        self.page = context.new_page()
        self.url, self.name, self.email = url, name, email

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def says(self, key: str, **values: object) -> None:
        """The page tells that something was done."""
        expect(self.page.get_by_role("status")).to_have_text(text(f"done.{key}", **values))

    def fill(self, label: str, value: str) -> None:
        self.page.get_by_label(text(label), exact=True).fill(value)

    def press(self, button: str) -> None:
        self.page.get_by_role("main").get_by_role("button", name=text(button), exact=True).click()

    def follow(self, link: str) -> None:
        self.page.get_by_role("link", name=text(link), exact=True).first.click()

    def register(self) -> Someone:
        self.go("/")
        self.follow("nav.register")
        self.fill("register.name", self.name)
        self.fill("register.email", self.email)
        self.fill("register.password", PASSWORD)
        self.press("register.do")
        self.says("registered")
        return self

    def log_in(self, path: str = "/login") -> Someone:
        self.go(path)
        self.fill("register.email", self.email)
        self.fill("register.password", PASSWORD)
        self.press("login.do")
        return self

    def log_out(self) -> None:
        self.page.get_by_role("button", name=text("nav.log_out")).click()
        self.says("logged_out")

    def write(self, title: str, content: str, button: str = "write.publish") -> None:
        self.go("/")
        self.follow("nav.write")
        self.fill("write.field_title", title)
        self.fill("write.field_content", content)
        self.press(button)

    def comment(self, label: str, content: str) -> None:
        """Say something where one is, and wait until it stands there."""
        self.fill(label, content)
        self.press("comments.say")
        expect(self.page.locator(".thread")).to_contain_text(content.rsplit(maxsplit=1)[-1].strip("*"))

    def votes(self, title: str) -> Locator:
        """The button of a post's votes, however many there are."""
        return self.page.get_by_role("main").get_by_role("button", name=f"“{title}”")
