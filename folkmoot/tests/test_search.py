"""Search: what it finds, and that its cost has a bound."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from folkmoot.postgres.statement import Statement
from folkmoot.posts import list_queries, lists, search
from folkmoot.posts.list_queries import Sort
from folkmoot.posts.word_counts import KnownWords, WordCounts
from test_feeds import fill, ids, walk, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from api import Api


def test_search_finds_newest_first_what_web_search_syntax_asks_for(api: Api) -> None:
    ada = api.person()
    write(api, ada, title="Walking the river", content="A bench")
    write(api, ada, title="A river bench", content="made of oak")
    write(api, ada, title="The bench", content="% _ \\ are no wildcards")
    for words, found in {
        "bench": [3, 2, 1], "benches": [3, 2, 1], '"river bench"': [2], "river -oak": [1],
        "oak or wildcards": [3, 2], "walks": [1], "nothing": [], "the": [],
        "%": [], "'": [], '"': [],
        "a & | ! (": [],
    }.items():  # fmt: skip
        assert ids(api.request("GET", "/posts", params={"q": words})) == found, words
    assert api.request("GET", "/posts", params={"q": "a\x00b"}).status_code == 422


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set how many posts a search may walk, take from the index, and have read of it: -1, it is not asked."""
    statements = list_queries.walked, list_queries.indexed

    def bound(walked: int, indexed: int, read: int = 10_000) -> None:
        monkeypatch.setattr(search, "READ", read)
        for sort in Sort:
            monkeypatch.setitem(list_queries.WALKED, sort, walked)
            monkeypatch.setitem(list_queries.INDEXED, sort, indexed)
        monkeypatch.setattr(search, "INDEX_MILLISECONDS", 10_000)  # the machine may be busy
        for statement in statements:
            statement.cache_clear()

    yield bound
    for statement in statements:
        statement.cache_clear()


@pytest.mark.parametrize("bound", [(1, 2000), (2000, 0), (2000, 2000, -1)])
def test_search_finds_the_same_by_walking_and_by_the_index(
    api: Api, bounds: Callable[..., None], bound: tuple[int, ...]
) -> None:
    bounds(*bound)
    ada = fill(api, 40)
    draft = write(api, ada, content="quartz", published=False)
    quartz = list(range(40, 0, -4))
    assert walk(api, "q=quartz&limit=3") == quartz
    assert walk(api, "q=quartz&limit=3", auth=ada.auth) == [draft, *quartz]
    assert walk(api, f"q=quartz&limit=3&owner={ada.id}") == quartz
    assert sorted(walk(api, "q=quartz&limit=3&sort=hot")) == sorted(quartz)
    assert walk(api, "q=granite") == []


SORTS = ("new", "top", "hot")


@pytest.mark.parametrize("sort", SORTS)
def test_a_search_that_would_read_too_many_posts_is_refused_and_says_what_to_do(
    api: Api, bounds: Callable[..., None], sort: str
) -> None:
    ada = fill(api, 40)
    bounds(10, 10)
    for words in ("-post", "-post -plain", "post -post", '"plain post"', "-post or -post"):
        for whose in ({}, {"owner": ada.id}):
            for auth in ({}, ada.auth):
                answer = api.request(
                    "GET", "/posts", params={"q": words, "sort": sort, **whose}, headers=auth
                )
                assert (answer.status_code, answer.json()["type"]) == (422, "/errors/search-too-broad"), words
                assert "Add a word" in answer.json()["detail"]


@pytest.mark.parametrize("sort", SORTS)
def test_pages_of_a_common_word_may_be_short_and_still_join(
    api: Api, bounds: Callable[..., None], sort: str
) -> None:
    fill(api, 40, voters=12)
    everything = walk(api, f"q=post&sort={sort}")
    assert len(everything) == 40
    bounds(10, 10)
    assert walk(api, f"q=post&sort={sort}&limit=7") == everything
    assert walk(api, f"q=post&sort={sort}&limit=30") == everything
    assert walk(api, f"q=-zzzz&sort={sort}&limit=30") == everything


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("bound", [(2000, 0), (2000, 2000)])
def test_a_search_reads_so_much_of_long_posts_and_goes_on_from_there(
    api: Api, bounds: Callable[..., None], monkeypatch: pytest.MonkeyPatch, bound: tuple[int, int], sort: str
) -> None:
    ada = fill(api, 8)
    long = "long " + " ".join(f"w{number}" for number in range(1000))
    for number in range(6):
        write(api, ada, title=f"{number}", content=long)
    monkeypatch.setattr(list_queries, "LONG", 15_000)  # of which each has 9,000 bytes of words
    bounds(*bound)
    for path in ("q=long", f"q=long&owner={ada.id}", "q=long -zzzz", 'q="w1 w2"'):
        first = api.get(f"/posts?{path}&sort={sort}&limit=10").json()
        assert (len(first["items"]), first["next_cursor"] is not None) == (1, True), path
        assert len(walk(api, f"{path}&sort={sort}&limit=10")) == 6, path
    assert api.get("/posts?q=-long&sort=new").json()["type"] == "/errors/search-too-broad"


HOSTILE = [
    "-zzzz", "-" * 200, "- " * 100, '"' * 200, '-"' * 100, "a " * 100, "or " * 66, "-a " * 66, "the -the",
    "the", "", " ", "|&!()<->:*'\\", "<->" * 60, "'<2>' bench", '"a <-> b"', "\N{COMBINING ACUTE ACCENT}" * 9,
    "\U0001f600" * 200, "\N{RIGHT-TO-LEFT OVERRIDE}post", "x" * 200, "post:*", '-"post plain" post', "-(post",
    "http://a/<->?b=c<1>", "a-b-c-d-e/" * 20, "1e400 -1e400", '"post" or -"plain"', "or", "-or", "T",
    "-(" * 100, "-." * 100, "-'" * 100, "-:" * 100, "-\\" * 100, "-\N{NO-BREAK SPACE}" * 100, "-|" * 100,
    "-\N{ZERO WIDTH SPACE}" * 100, "-<" * 100, "-_" * 100, "-\v" * 100,
]  # fmt: skip


@pytest.mark.parametrize("walked", [2, 2000])
@pytest.mark.parametrize("words", HOSTILE)
def test_whatever_the_words_are_a_search_is_answered_or_refused(
    api: Api, bounds: Callable[..., None], words: str, walked: int
) -> None:
    ada = fill(api, 12)
    bounds(walked, 2)
    for sort, auth in (("new", {}), ("top", ada.auth)):
        assert api.get("/posts", params={"q": words, "sort": sort}, headers=auth).status_code in {200, 422}


def test_a_search_for_which_the_index_takes_too_long_is_refused_as_too_broad(
    api: Api, bounds: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(api, 12)
    bounds(8, 2)
    slow = Statement("SELECT TRUE AS noted, NULL::bigint[] AS ids FROM pg_sleep(60)")
    monkeypatch.setattr(search, "INDEX_MILLISECONDS", 15)
    monkeypatch.setattr(search, "indexed", lambda _sort, **_: slow)
    answer = api.get("/posts?q=nothing")
    assert (answer.status_code, answer.json()["type"]) == (422, "/errors/search-too-broad")
    assert api.get("/posts?q=post").json()["next_cursor"]


#: Of a million posts.
COUNTS = WordCounts(1_000_000, {"river": 0.02, "bench": 0.005, "oak": 0.003, "o'k\\": 0.1, "quay": 0.0005})


@pytest.mark.parametrize(
    ("tree", "asked"),
    [
        ("'zzzz'", "'zzzz'"),
        ("'quay'", "'quay'"),
        ("'bench'", None),
        ("'river' & 'quay'", "'quay'"),
        ("'river' & 'zzzz' & 'bench'", "'zzzz'"),
        ("'bench' & 'river' & 'oak'", "'oak' & 'bench'"),
        ("'river' & 'bench'", None),
        ("'quay' | 'quay'", None),
        ("'quay' | 'zzzz' | 'yyyy' & 'river'", "'quay' | 'zzzz' | 'yyyy'"),
        ("'quay' | 'river'", None),
        ("'o''k\\\\'", None),
        ("'o''k\\\\' & 'a''b'", "'a''b'"),
        ("'quay' & ( 'river' | 'oak' )", "'quay' & ( 'river' | 'oak' )"),
    ],
)
def test_the_index_is_asked_for_the_rarest_words_where_they_are_rare_enough(
    tree: str, asked: str | None
) -> None:
    assert COUNTS.cheapest(tree, read=10_000, found=750) == asked


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("words", ["post", "post quartz", '"quartz post"', "plain or quartz", "post -zzzz"])
def test_the_index_is_never_asked_for_what_many_posts_have(
    api: Api, bounds: Callable[..., None], monkeypatch: pytest.MonkeyPatch, sort: str, words: str
) -> None:
    fill(api, 400)
    bounds(100, 10, 50)
    with api.connect() as connection:
        connection.execute("ANALYZE posts")
    state = api.application.state
    monkeypatch.setattr(state.search, "_words", KnownWords(state.pool))
    monkeypatch.setattr(search, "indexed", None)
    assert api.get("/posts", params={"q": words, "sort": sort}).status_code in {200, 422}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("sort", list(Sort))
@pytest.mark.parametrize("owner", [None, 1])
@pytest.mark.parametrize("words", ["post", "-post", "post -post", '"post quartz plain"', "zzzz", "-zzzz"])
def test_no_part_of_a_search_reads_more_rows_than_its_bound(
    api: Api, bounds: Callable[..., None], sort: Sort, owner: int | None, words: str
) -> None:
    bounds(100, 100)
    ada = fill(api, 5000, voters=1)
    values = {
        **lists.FIRST[sort], "words": words, "owner": owner and ada.id, "count": 11, "person": None,
        "session": None, "tree": "'post'", "ids": list(range(1, 101)),
    }  # fmt: skip
    with api.connect() as connection:
        # Most people wrote one post, which is what the planner expects of everybody.
        connection.execute(
            "INSERT INTO users (email, password) SELECT n, '!' FROM generate_series(1, 1000) AS n"
        )
        connection.execute("INSERT INTO posts (title, content, owner_id) SELECT 't', 'c', id FROM users")
        connection.execute("ANALYZE posts, post_ranks")
    for statement in (
        list_queries.walked(sort, known=False, owner=owner is not None, some=False),
        list_queries.indexed(sort, known=False, owner=owner is not None),
        list_queries.among(sort, known=False),
    ):
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}"
        plan = api.run(api.application.state.pool.fetchval, explain, *statement.arguments(values))
        for node in nodes(json.loads(plan)[0]["Plan"]):
            if node["Node Type"] != "Bitmap Index Scan":
                read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                assert read * node["Actual Loops"] <= 150, node
