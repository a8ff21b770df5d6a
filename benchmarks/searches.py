"""A part of `make bench`: what every kind of list and search costs an anonymous client, against one page."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, urlsplit

from benchmarks.million import fill, many, word
from folkmoot.posts.list_queries import Sort

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measuring import Run
    from benchmarks.report import Part
    from benchmarks.site import Site

#: How many requests are made in a turn, of each kind and of what it is compared with.
_REQUESTS = 10
#: How far down the next pages are.
_DEEP = 500
#: New posts that the index on words has not taken in, as many as it may leave so.
_PENDING = 150
_PHRASE = f'"{word(30)} {word(31)}"'
#: Words, by their place among the 100,000.
SEARCHES = {
    "a word that no post has": "zzzzq",
    **{f"the {rank:,}th word": word(rank) for rank in (60_000, 20_000, 8000, 3000, 1200, 400, 100, 20)},
    "a phrase of common words": _PHRASE,
    "a phrase of common words that nobody wrote": f'"{word(50)} {word(51)} {word(52)} {word(53)}"',
    "a phrase of rare words": f'"{word(9000)} {word(9001)}"',
    "two common words": f"{word(30)} {word(40)}",
    "two words of the middle": f"{word(600)} {word(700)}",
    "a common and a rare word": f"{word(20)} {word(30_000)}",
    "a common word and one that no post has": f"{word(20)} zzzzq",
    "five common words": " ".join(map(word, range(40, 45))),
    "thirty words": " ".join(map(word, range(200, 230))),
    "either of two rare words": f"{word(20_000)} or {word(20_001)}",
    "either of thirty rare words": " or ".join(map(word, range(20_000, 20_025))),
    "either of twenty words of the middle": " or ".join(map(word, range(2000, 2020))),
    "either of thirty that no post has": " or ".join(f"zz{word(n)}" for n in range(300, 320)),
    "not a word that no post has": "-zzzzq",
    "not a common word": f"-{word(20)}",
    "no common word at all": " ".join(f"-{word(n)}" for n in range(12, 60)),
    "a word and not that word": f"{word(400)} -{word(400)}",
    "a common word without a phrase": f"{word(400)} -{_PHRASE}",
    "words of a language that the text has none of": "\u0441\u043b\u043e\u0432\u043e \u8a00\u8449",
    "stop words alone": "the of and",
    "dashes and quotes": '-"-"- "',
}


@dataclass(frozen=True)
class _Cost:
    """Of one request, in milliseconds."""

    processor: float
    http: float


class _Client:
    """One client on one connection, and the processor time of the PostgreSQL that serves it."""

    def __init__(self, base: str, site: Site) -> None:
        parts = urlsplit(base)
        self._host = parts.netloc
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._file = self._socket.makefile("rb")
        self._site = site

    def get(self, path: str) -> tuple[int, bytes]:
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        status, length = int(self._file.readline()[9:12]), 0
        while (line := self._file.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        return status, self._file.read(length)

    def cost(self, path: str, backends: list[int]) -> _Cost:
        times = []
        before = sum(map(_processor, backends))
        for _ in range(_REQUESTS):
            began = time.perf_counter()
            self.get(path)
            times.append((time.perf_counter() - began) * 1000)
        return _Cost((sum(map(_processor, backends)) - before) / _REQUESTS, median(times))

    def backends(self) -> list[int]:
        """The processes of the service's connections."""
        with self._site.connect() as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            return [row[0] for row in found]


def _processor(process: int) -> float:
    """The processor time of a process, in milliseconds."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e6


def searches(run: Run, part: Part) -> None:
    """Every kind of list and of search on many posts, at most 20 times as dear as the first page of new."""
    site = run.seeded(many(run.options.grown[1]), part, fill)
    with site.connect() as connection:
        connection.execute(
            "INSERT INTO posts (title, content, owner_id) "
            "SELECT title, content, owner_id FROM posts WHERE published ORDER BY id LIMIT %s", (_PENDING,),
        )  # fmt: skip
    # One worker has all connections of one client, and so one backend.
    base = run.served(site, WORKERS="1", DATABASE_POOL_SIZE="1")
    client = _Client(base, site)
    part.head(
        f"What an anonymous client's lists and searches cost on {site.amounts.posts:,} posts", "what",
        "new", "top", "hot", "PostgreSQL, times", "HTTP, times", "the greatest", "at most",
    )  # fmt: skip
    client.get("/posts")
    backends = client.backends()
    for name, query, deep in _kinds():
        measured = []
        for sort in Sort:
            path = f"/posts?sort={sort.value}{query}"
            path = _down(client, path) if deep else path
            status, body = client.get(path)
            if status not in {200, 422}:
                part.fail(f"{path}: {status}")
            measured.append((_told(status, body), *_times(run, client, path, backends)))
        answers, processor, http = zip(*measured, strict=True)
        columns = (" / ".join(f"{figure:.1f}" for figure in figures) for figures in (processor, http))
        part.row(name, *answers, *columns, f"{max(*processor, *http):.1f}", "20")
    part.say(
        "\nTimes: the processor time of PostgreSQL for a request, and the time until one client has its "
        "answer, over those of the first page of `new`, measured in turns on one worker; each in the three "
        f"orders. The index on words had {_PENDING} new posts to take in. Answers: how many posts the page "
        "has, and whether there is a next one; refused: 422 with a sentence that says what to do."
    )


def _times(run: Run, client: _Client, path: str, backends: list[int]) -> tuple[float, float]:
    """What requests cost against the first page of new: by the processor, and by the clock."""
    costs: list[_Cost] = []
    news: list[_Cost] = []
    for _ in range(run.options.turns):
        news.append(client.cost("/posts", backends))
        costs.append(client.cost(path, backends))
    return (
        median(c.processor for c in costs) / median(c.processor for c in news),
        median(c.http for c in costs) / median(c.http for c in news),
    )


def _told(status: int, body: bytes) -> str:
    if status != 200:
        return "refused"
    page = json.loads(body)
    return f"{len(page['items'])}{', next' if page['next_cursor'] else ''}"


def _down(client: _Client, path: str) -> str:
    """The path of a page far down, or of the last one."""
    cursor = ""
    for _ in range(_DEEP):
        found = json.loads(client.get(path + cursor)[1]).get("next_cursor")
        if found is None:
            break
        cursor = f"&cursor={found}"
    return path + cursor


def _kinds() -> Iterator[tuple[str, str, bool]]:
    """Its name, what is added to the query, and whether it is a page far down."""
    yield "the first page", "", False
    yield "of 100 posts", "&limit=100", False
    yield f"the {_DEEP}th page", "", True
    for owner, whose in ((1, "who wrote most"), (90, "somebody"), (2**40, "nobody")):
        yield f"of {whose}", f"&owner={owner}", False
    yield "a common word of who wrote most", f"&owner=1&q={word(100)}", False
    yield "a rare word of who wrote most", f"&owner=1&q={word(8000)}", False
    yield "a common word, far down", f"&q={word(20)}", True
    for name, words in SEARCHES.items():
        yield name, f"&q={quote_plus(words)}", False
