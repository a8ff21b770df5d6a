"""The API's own documentation page: all that it loads comes from here."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api import Api


def test_all_that_the_page_loads_is_served_from_here(api: Api) -> None:
    page = api.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(loaded) == 4
    for each in loaded:
        answer = api.get(f"/{each}")
        assert answer.status_code == 200, each
        assert answer.content


def test_its_policy_names_no_other_place_and_nothing_inline(api: Api) -> None:
    page = api.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "http" not in policy
    assert "unsafe" not in policy
    assert "sha256" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script>|<style|style=| on\w+=", page.text)


def test_a_file_is_sent_compressed_where_the_client_takes_it_and_once(api: Api) -> None:
    plain = api.get("/docs/swagger-ui.css", headers={"Accept-Encoding": "identity"})
    zipped = api.get("/docs/swagger-ui.css", headers={"Accept-Encoding": "br, gzip"})
    refused = api.get("/docs/swagger-ui.css", headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in refused.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert plain.content == zipped.content  # the client has unpacked it
    assert int(zipped.headers["content-length"]) < len(gzip.compress(plain.content, 1))
    assert {each.headers["vary"] for each in (plain, zipped)} == {"Accept-Encoding"}
    again = {"Accept-Encoding": "gzip", "If-None-Match": zipped.headers["etag"]}
    assert api.get("/docs/swagger-ui.css", headers=again).status_code == 304


def test_there_are_no_other_files(api: Api) -> None:
    for name in ("main.py", "..%2fmain.py", "__init__.py", "swagger-ui.css.map"):
        assert api.get(f"/docs/{name}").status_code == 404, name
