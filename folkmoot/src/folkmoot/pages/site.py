"""How a page is made: its template, its filters, and the headers that every page has."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.filesize import decimal

from folkmoot.http import etags
from folkmoot.pages import forms, visitor
from folkmoot.pages.assets import static
from folkmoot.pages.markdown import markdown
from folkmoot.pages.texts import LANGUAGE, has, text

if TYPE_CHECKING:
    from folkmoot.http.problems import Problem

#: What a page may load, run and be shown in: its own, and nothing inline.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: A message for the page that comes next.
_NOTICE = "folkmoot_notice"
_NOTICE_SECONDS = 60
#: A path of this server: no //host, and no backslash, which browsers take for a slash.
_OWN = re.compile(r"/(?![/\\])[^\x00-\x20\\\x7f]*")
#: What stands in a path as it is (RFC 3986, 3.3), but for what begins a query's value.
_UNESCAPED = "/:@!$'()*+,;~-._"
_PLAIN = re.compile(r"[#>*_`~\[\]\\|]+|\]\([^)]*\)")


def in_words(when: datetime, now: datetime | None = None) -> str:
    """How long ago something was: `5 minutes ago`."""
    seconds = max(0, int(((now or datetime.now(UTC)) - when).total_seconds()))
    for unit, length in (
        ("year", 31_557_600), ("month", 2_629_800), ("week", 604_800), ("day", 86_400), ("hour", 3_600),
        ("minute", 60),
    ):  # fmt: skip
        if seconds >= length:
            return text(f"ago.{unit}", n=seconds // length)
    return text("ago.now")


def exact(when: datetime) -> str:
    """The time behind the words, without regard to where somebody is."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso(when: datetime) -> str:
    """The time as the `datetime` attribute has it."""
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def excerpt(content: str, most: int = 200) -> str:
    """The beginning of a text, without Markdown's signs."""
    begins = " ".join(_PLAIN.sub(" ", content[: 3 * most]).split())
    return begins if len(begins) <= most else f"{begins[:most].rpartition(' ')[0] or begins[:most]}…"


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("folkmoot.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {"t": text, "static": static, "language": LANGUAGE}
    made.filters |= {"bytes": decimal, "moment": datetime.fromisoformat}
    for each in (in_words, exact, iso, excerpt, markdown):
        made.filters[each.__name__] = each
    return made


_TEMPLATES = _environment()


def page(
    request: Request, template: str, status: int = 200, *, public: bool = False, **values: Any
) -> Response:
    """Render a page. Caches keep it only where it is `public`, nobody is logged in, and it has no form."""
    key = request.cookies.get(visitor.cookie_name(request, _NOTICE), "")
    notice = text(f"done.{key}") if key and has(f"done.{key}") else None
    address = here(request)
    body = (
        _TEMPLATES.get_template(template)
        .render(
            known=visitor.claims(request) is not None,
            here=address,
            login=f"/login?next={quote(address)}",
            csrf=lambda: forms.token(request),
            notice=notice,
            **values,
        )
        .encode("utf-8", "replace")
    )
    headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
    private = not public or visitor.claims(request) is not None or forms.has_token(request) or bool(key)
    if private or status != 200:
        headers["Cache-Control"] = "private, no-store"
        answer = Response(body, status, headers, "text/html")
    else:
        headers |= {"Cache-Control": "no-cache", "ETag": etags.etag(body), "Vary": "Cookie"}
        same = etags.holds(request, headers["ETag"])
        answer = Response(b"" if same else body, 304 if same else 200, headers, "text/html")
    forms.keep_visitor(request, answer)
    if key:
        visitor.drop_cookie(request, answer, _NOTICE)
    return answer


def problem_page(request: Request, problem: Problem) -> Response:
    """A problem as a page: the same status, title and detail."""
    return _telling(problem, page(request, "problem.html", problem.status, problem=problem))


def form_page(request: Request, template: str, form: forms.Form, **values: Any) -> Response:
    """Show a form: with what is wrong with it, if something is, and with that status."""
    return _telling(form.problem, page(request, template, form.status, form=form, **values))


def _telling(problem: Problem | None, answer: Response) -> Response:
    """The page with the headers of the problem that mean something to a browser."""
    for name, value in ((problem and problem.headers) or {}).items():
        if name.lower() in {"retry-after", "allow"}:
            answer.headers[name] = value
    return answer


def own_path(address: str, otherwise: str = "/") -> str:
    """An address if it is a path of this server, however it is spelled; `otherwise` where it is not."""
    return address if _OWN.fullmatch(address) else otherwise


def here(request: Request) -> str:
    """The address that is asked for, from the path on."""
    path, query = (
        quote(request.scope["path"], safe=_UNESCAPED),
        request.scope["query_string"].decode("latin-1"),
    )
    return f"{path}?{query}" if query else path


def came_from(request: Request, otherwise: str = "/") -> str:
    """The page of ours that the request was sent from."""
    referer = request.headers.get("referer", "")
    if not forms.of_our_host(request, referer):
        return otherwise
    found = urlsplit(referer)
    return own_path(found.path + (f"?{found.query}" if found.query else ""), otherwise)


def redirect(request: Request, path: str, done: str | None = None) -> Response:
    """Go on with a page of ours (303), which says what was `done`: a key of the texts."""
    location = quote(own_path(path), safe=f"{_UNESCAPED}?#&=%")
    answer = Response(status_code=303, headers={"Location": location, "Cache-Control": "no-store"})
    if done is not None:
        text(f"done.{done}")
        visitor.set_cookie(request, answer, _NOTICE, done, _NOTICE_SECONDS)
    return answer
