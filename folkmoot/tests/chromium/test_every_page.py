"""axe-core on every page: in light and dark, on a phone and on a wide screen, and after a mistake."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect

from api import PASSWORD, SECRET
from axe import complaints
from folkmoot.app import create_app
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.texts import text
from folkmoot.settings import load
from someone import Someone

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

    from running import Service

    Open = Callable[..., BrowserContext]

_NUMBER = count(1)
#: What a text can have in it, and a word that is wider than a phone.
CONTENT = f"""# A heading

*Emphasis*, **strong**, `code`, ~~gone~~, [a link](https://example.org) and {"long" * 40}.

> A quote

- one
- two

{"| column " * 30}|
{"|---" * 30}|
{"| value " * 30}|

    code in a block that is much wider than the screen of any phone that anybody has ever had in their hands
"""


def addresses(**known: object) -> list[str]:
    """Each page's address, with the names in it filled in."""
    app = create_app(load(database_url="postgresql:///none", secret_key=SECRET))
    return [
        re.sub(r"{(\w+)}", lambda found: str(known.get(found[1], 1)), route.path_format)
        for route in app.routes
        if isinstance(route, PageRoute) and "GET" in (route.methods or ())
    ]


def looked_at(who: Someone, path: str) -> list[str]:
    who.go(path)
    wider = who.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return complaints(who.page) + ([f"{path} is {wider} pixels too wide"] if wider > 0 else [])


@pytest.fixture
def ada(opened: Open, site: Service, request: pytest.FixtureRequest) -> Someone:
    """Somebody who has written a post and a draft."""
    options = getattr(request, "param", {})
    email = f"ada.{next(_NUMBER)}@example.com"
    someone = Someone(opened(**options), site.url, "Ada", email).register()
    someone.write("Draft", CONTENT, "write.draft")
    someone.write("A post" + " with a long title" * 15, CONTENT)
    address = someone.page.url
    for content in ("A comment", CONTENT):
        someone.page.goto(address)
        someone.comment("comments.yours", content)
    someone.follow("comments.answer")
    someone.comment("comments.your_answer", "An answer")
    someone.page.goto(address)
    return someone


def test_the_most_read_pages_have_nothing_that_axe_finds(ada: Someone) -> None:
    post = ada.page.url.removeprefix(ada.url)
    assert [each for path in ("/", post) for each in looked_at(ada, path)] == []


LOOKS = [
    {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    for scheme in ("light", "dark")
    for width in (320, 1280)
]


def moderate(site: Service, ada: Someone, post: int, comment: int) -> tuple[int, int]:
    """Report a post and a comment to an administrator, and remove two of theirs; the ids of the first."""
    with httpx.Client(base_url=site.url) as client:

        def member(email: str) -> dict[str, str]:
            form = {"username": email, "password": PASSWORD}
            token = client.post("/login", data=form).raise_for_status().json()["access_token"]
            return {"Authorization": f"Bearer {token}"}

        def ask(who: dict[str, str], method: str, path: str, **body: str) -> httpx.Response:
            return client.request(method, path, json=body, headers=who).raise_for_status()

        email = f"bea.{next(_NUMBER)}@example.com"
        client.post("/users", json={"email": email, "password": PASSWORD}).raise_for_status()
        bea, reeve = member(email), member(ada.email)
        theirs = ask(bea, "POST", "/posts", title="Bea's", content=CONTENT).json()["id"]
        said = ask(bea, "POST", f"/posts/{theirs}/comments", content=CONTENT).json()["id"]
        for path in (f"/posts/{theirs}", f"/posts/{theirs}/comments/{said}"):
            ask(reeve, "PUT", f"{path}/report", reason="It sells, " + "long" * 40)
        for path in (f"/posts/{post}", f"/posts/{post}/comments/{comment}"):
            ask(reeve, "PUT", f"{path}/removal", reason="Advertising")
        return theirs, said


@pytest.mark.prove
@pytest.mark.parametrize("ada", LOOKS, indirect=True, ids=str)
def test_no_page_has_anything_that_axe_finds(
    ada: Someone,
    site: Service,
    appoint: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> None:
    post = int(ada.page.url.rpartition("/")[2])
    ada.go("/account")
    person = int(re.findall(r"/u/(\d+)", ada.page.content())[0])
    ada.go(f"/p/{post}")
    comment = int(re.findall(rf"/p/{post}/comments/(\d+)", ada.page.content())[0])
    paths = addresses(post_id=post, comment_id=comment, id=person, user_id=person)
    assert {"/", f"/p/{post}", f"/p/{post}/edit", f"/u/{person}", "/write", "/account", "/login"} <= {*paths}
    appoint(ada.email)
    removed = moderate(site, ada, post, comment)
    decided = addresses(post_id=removed[0], comment_id=removed[1], id=person, user_id=person)
    found: list[str] = []
    pages: list[str] = []
    for path in [
        *paths,
        *(path for path in decided if path not in paths),
        "/?q=heading",
        "/?q=nothinghasthis",
        "/?order=new",
        "/?cursor=x",
        "/p/0",
        "/nowhere",
    ]:
        answer = ada.page.context.request.get(ada.url + path, headers={"Accept": "text/html"})
        if answer.headers["content-type"].startswith("text/html"):
            pages.append(path)
            found += looked_at(ada, path)
    assert {"/moderation", "/moderation/log", "/schema", f"/moderation/posts/{removed[0]}"} <= {*pages}
    ada.log_out()
    for path in ("/", f"/p/{removed[0]}", f"/p/{post}", "/login", "/register"):
        pages.append(path)
        found += looked_at(ada, path)
    record_property("axe", f"{len(pages)} pages, {len(found)} violations")
    assert found == []


@pytest.mark.prove
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_said_of_a_mistake_has_nothing_that_axe_finds(
    opened: Open, site: Service, scheme: str
) -> None:
    bea = Someone(opened(color_scheme=scheme), site.url, "Bea", f"bea.{scheme}@example.com").register()
    found: list[str] = []

    def mistaken(path: str, button: str, **fields: str) -> None:
        bea.go(path)
        for label, value in fields.items():
            bea.fill(label.replace("__", "."), value)
        bea.press(button)
        expect(bea.page.get_by_role("alert")).to_be_visible()
        found.extend(complaints(bea.page))

    mistaken("/write", "write.publish", write__field_title="\u2003", write__field_content="x")
    mistaken("/account", "account.save", account__phone="12")
    mistaken("/account/password", "account_form.password.do", account__current_password="wrong",
             account__new_password="long enough it is")  # fmt: skip
    bea.log_out()
    mistaken("/login", "login.do", register__email=bea.email, register__password="wrong")
    mistaken("/register", "register.do", register__email=bea.email, register__password="long enough it is")
    assert text("register.title") in bea.page.title()
    assert found == []
