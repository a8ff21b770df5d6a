"""Strings that try to become markup, script, a header, SQL or a template where they should stay text."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from browser import Element

STRINGS = (
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", "<ScRiPt SRC=//example.net/x.js>",
    "<img src=x onerror=alert(1)>", "<img src='x' onerror='alert(1)'/>", '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>", "<svg><script>alert(1)</script></svg>", "<svg/onload=alert(1)//",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>", "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='&lt;script&gt;alert(1)&lt;/script&gt;'>", "<object data=javascript:alert(1)>",
    "<embed src=//example.net>", "<base href=//example.net/>",
    "<link rel=stylesheet href=//example.net/x.css>",
    "<meta http-equiv=refresh content='0;url=//example.net'>", "<style>*{display:none}</style>",
    "<body onload=alert(1)>", "<form action=//example.net><input name=csrf></form>", "</form><form id=x>",
    "<input autofocus onfocus=alert(1)>", "<button formaction=javascript:alert(1)>x</button>",
    "<textarea></textarea><script>alert(1)</script>", "</textarea><img src=x onerror=alert(1)>",
    "</title><script>alert(1)</script>", "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)>", "<a href=javascript:alert(1)>x</a>",
    "<template><script>alert(1)</script></template>", "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>", "<?xml version='1.0'?><x/>", '" onmouseover="alert(1)',
    "' onmouseover='alert(1)", "` onmouseover=`alert(1)", '" autofocus onfocus="x',
    "&lt;script&gt;alert(1)&lt;/script&gt;", "&#60;script&#62;alert(1)", "\\u003cscript\\u003ealert(1)",
    "%3Cscript%3Ealert(1)%3C/script%3E", "\uff1cscript\uff1ealert(1)",
    "<scr\u200bipt>alert(1)</scr\u200bipt>", "{{ 7 * 7 }}", "{% raw %}{{ config }}", "${7*7}", "#{7*7}",
    "{0.__class__}", "%(password)s", "' OR 1=1 --", "'; DROP TABLE users; --", "x\r\nSet-Cookie: a=b",
    "../../etc/passwd", "=1+1", "[x](javascript:alert(1))", "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))", "[x](data:text/html;base64,PHNjcmlwdD4=)", "[x](vbscript:x)",
    "[x](&#106;avascript:alert(1))", "<javascript:alert(1)>", "![x](javascript:alert(1))",
    '![x](https://example.net/x.png"onerror="alert(1))', '[x](https://example.net "onmouseover=alert(1)")',
    "[x]: javascript:alert(1)\n\n[x]", "[x](//example.net)", "[x](<javascript:alert(1)>)",
    "`<script>alert(1)</script>`", "```html\n<script>alert(1)</script>\n```", "> <script>alert(1)</script>",
    "- <img src=x onerror=alert(1)>", "| <b onclick=x>a |\n|---|\n| b |", "**<b onclick=alert(1)>x</b>**",
    'http://example.net/"onclick="alert(1)', "\u202egnp.exe<b>",
)  # fmt: skip

#: What only templates write, and no text.
_OURS = {"form", "input", "textarea", "button", "label", "nav", "main", "header", "footer", "section", "time"}
_NEVER = {
    "iframe", "object", "embed", "base", "style", "svg", "math", "img", "video", "source", "template", "xml",
    "script", "link", "meta", "body", "html", "title", "head",
}  # fmt: skip
_ADDRESSES = ("href", "src", "action", "formaction", "xlink:href", "data", "srcdoc", "poster")


def dangerous(element: Element) -> list[str]:
    """What of a part of a page could run, load or look like something that it is not."""
    found = []
    for each in element.all():
        if each.tag in _NEVER:
            found.append(f"<{each.tag}>")
        for name, value in each.attributes.items():
            if name.startswith("on") or name in {"style", "srcdoc"}:
                found.append(f"{each.tag} {name}={value}")
            if name in _ADDRESSES and urlsplit(value.strip()).scheme not in {"", "http", "https", "mailto"}:
                found.append(f"{each.tag} {name}={value}")
    return found


def written(element: Element) -> list[str]:
    """The same for what people have written, in which there are no forms and no places of a page."""
    return dangerous(element) + [f"<{each.tag}>" for each in element.all() if each.tag in _OURS]
