"""A browser without script, for tests of pages: cookies, redirects, and the forms that a page has."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from httpx import Cookies
from httpx import Response as Answer

from api import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api import Api

_VOID = {"input", "meta", "link", "br", "hr", "img"}


@dataclass
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    def get(self, name: str, otherwise: str = "") -> str:
        return self.attributes.get(name, otherwise)

    def all(self, *tags: str) -> Iterator[Element]:
        """The elements within, this one too, in the order of the page."""
        if not tags or self.tag in tags:
            yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.all(*tags)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {attrs}"
        made = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(made)
        if tag not in _VOID:
            self.open.append(made)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parsed(html: str) -> Element:
    """A page as elements; what does not nest fails."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.open) == 1, f"not closed: {[each.tag for each in reader.open]}"
    return reader.open[0]


@dataclass(frozen=True)
class Form:
    """A form as one of its buttons sends it."""

    action: str
    method: str
    fields: dict[str, str]
    #: The fields that somebody fills in.
    typed: tuple[str, ...]


def forms(page: Element, here: str) -> list[Form]:
    """Every form of a page with each of its buttons."""
    found = []
    for form in page.all("form"):
        inside = [id(each) for each in form.all()]
        controls = [
            each
            for each in page.all("input", "textarea", "select", "button")
            if (each.get("form") == form.get("id", "?") if "form" in each.attributes else id(each) in inside)
        ]
        buttons = [each for each in controls if each.tag == "button"] or [Element("button", {})]
        fields, typed = {}, []
        for each in controls:
            if each.tag == "button" or not each.get("name") or each.get("type") in {"checkbox", "radio"}:
                continue
            fields[each["name"]] = (
                each.text.removeprefix("\n") if each.tag == "textarea" else each.get("value")
            )
            if each.get("type") != "hidden":
                typed.append(each["name"])
        for button in buttons:
            own = {button["name"]: button.get("value")} if button.get("name") else {}
            action = button.get("formaction") or form.get("action") or here
            found.append(Form(action, form.get("method", "get"), {**fields, **own}, tuple(typed)))
    return found


class Browser:
    """Somebody at a browser."""

    def __init__(self, api: Api, **headers: str) -> None:
        self.api = api
        self.headers = {"Accept": "text/html", **headers}
        self.cookies = Cookies()
        self.answer: Answer
        self.path = "/"

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> Answer:
        """One request, whose answer's cookies are kept."""
        sent = {**self.headers, **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{each.name}={each.value}" for each in self.cookies.jar)
        answer = self.api.request(method, path, headers=sent, **options)
        self.api.forget_cookies()
        self.cookies.extract_cookies(answer)
        return answer

    def open(self, path: str) -> Element:
        """Open a page, and follow where it leads."""
        self.answer = self.ask("GET", path)
        while self.answer.status_code == 303:
            path = self.answer.headers["location"]
            self.answer = self.ask("GET", path.partition("#")[0])
        self.path = path
        return self.page

    @property
    def page(self) -> Element:
        return parsed(self.answer.text)

    @property
    def text(self) -> str:
        return " ".join(self.page.text.split())

    def form(self, action: str, **having: str) -> Form:
        """The one form of the page that is sent there, with a button or a field that has such a value."""
        return next(
            each
            for each in forms(self.page, self.path)
            if each.action.partition("?")[0] == action and having.items() <= each.fields.items()
        )

    def send(self, form: Form, **typed: str) -> Element:
        """Fill a form in, send it, and follow where it leads."""
        fields = {**form.fields, **typed}
        options: dict[str, Any] = {"params": fields} if form.method == "get" else {"data": fields}
        referer = {"Referer": f"http://testserver{self.path}"}
        self.answer = self.ask(form.method.upper(), form.action, headers=referer, **options)
        if self.answer.status_code == 303:
            return self.open(self.answer.headers["location"])
        return self.page

    def register(self, email: str, password: str = PASSWORD, name: str = "") -> Browser:
        self.open("/register")
        self.send(self.form("/register"), email=email, password=password, display_name=name)
        assert self.answer.status_code == 200, self.text
        return self

    def log_in(self, email: str, password: str = PASSWORD) -> Browser:
        self.open("/login")
        self.send(self.form("/log-in"), email=email, password=password)
        return self
