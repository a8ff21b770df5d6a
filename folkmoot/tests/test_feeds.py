"""Lists of posts: order, pages that go on while others post and vote, cursors."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from folkmoot.posts import list_queries, lists

if TYPE_CHECKING:
    import httpx

    from api import Api, Person


def write(api: Api, owner: Person, **fields: object) -> int:
    body = {"title": "Title", "content": "Content", **fields}
    return int(api.post("/posts", json=body, headers=owner.auth).json()["id"])


def ids(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [post["id"] for post in answer.json()["items"]]


def fill(api: Api, posts: int, voters: int = 0) -> Person:
    """Posts of one person, an hour between each and the next; the n-th of a dozen has n votes."""
    ada = api.person()
    with api.connect() as connection:
        connection.execute(
            "INSERT INTO posts (title, content, owner_id, created_at) "
            "SELECT 'Post ' || n, CASE WHEN n %% 4 = 0 THEN 'quartz' ELSE 'plain' END, %s, "
            "       now() - make_interval(hours => %s - n) FROM generate_series(1, %s) n",
            (ada.id, posts, posts),
        )
        connection.execute(
            "INSERT INTO users (email, password) SELECT 'v' || n || '@example.org', '!' "
            "FROM generate_series(1, %s) n",
            (voters,),
        )
        connection.execute(
            "INSERT INTO votes (user_id, post_id) SELECT u.id, p.id FROM posts p "
            "JOIN users u ON u.email LIKE 'v%@%' AND u.id - %s <= p.id %% 12".replace("'v%@%'", "'v%%@%%'"),
            (ada.id,),
        )
    return ada


def walk(api: Api, query: str, between: Any = lambda: None, auth: dict[str, str] | None = None) -> list[int]:
    """Page to the end of a list."""
    seen: list[int] = []
    cursor = ""
    while True:
        answer = api.get(f"/posts?{query}{cursor}", headers=auth or {})
        seen += ids(answer)
        if answer.json()["next_cursor"] is None:
            return seen
        cursor = f"&cursor={answer.json()['next_cursor']}"
        between()


def test_each_order_is_what_it_says_and_pages_join_without_seam(api: Api) -> None:
    ada = fill(api, 30, voters=12)
    everything = api.get("/posts?limit=100").json()["items"]
    assert [post["id"] for post in everything] == list(range(30, 0, -1))
    votes = {post["id"]: post["votes"] for post in everything}
    assert sorted(set(votes.values())) == list(range(12))
    top = sorted(votes, key=lambda post: (votes[post], post), reverse=True)
    for limit in (1, 7, 30, 100):
        for whose in ("", f"&owner={ada.id}"):
            assert walk(api, f"limit={limit}{whose}") == list(range(30, 0, -1))
            assert walk(api, f"sort=top&limit={limit}{whose}") == top
            assert sorted(walk(api, f"sort=hot&limit={limit}{whose}")) == list(range(1, 31))
    with api.connect() as connection:
        hottest = connection.execute(
            "SELECT post_id FROM post_ranks ORDER BY hot DESC, post_id DESC"
        ).fetchall()
    assert walk(api, "sort=hot&limit=4") == [row[0] for row in hottest]


def test_ten_times_the_votes_outweigh_half_a_day_of_age(api: Api) -> None:
    fill(api, 2, voters=12)
    with api.connect() as connection:
        connection.execute("INSERT INTO votes SELECT id, 1 FROM users ON CONFLICT DO NOTHING")
        connection.execute("DELETE FROM votes WHERE post_id = 2")
        for hours, first in ((12, 1), (15, 2)):
            connection.execute(
                "UPDATE posts SET created_at = now() - make_interval(hours => %s) WHERE id = 1", (hours,)
            )
            assert ids(api.get("/posts?sort=hot&limit=1")) == [first]


@pytest.mark.parametrize("sort", ["new", "top", "hot"])
def test_while_others_post_and_vote_no_post_comes_twice_and_none_that_stood_still_is_missed(
    api: Api, sort: str
) -> None:
    ada = fill(api, 60, voters=12)
    bob = api.person()
    moving = [n for n in range(1, 61) if n % 3 == 0]
    steps = iter(range(1000))

    def others() -> None:
        step = next(steps)
        write(api, ada, title="Meanwhile")
        with api.connect() as connection:
            # Up for some and down for others, seen and unseen, those just shown among them.
            connection.execute("DELETE FROM votes WHERE post_id = ANY (%s)", (moving[step % 2 :: 2],))
            connection.execute(
                "INSERT INTO votes SELECT id, %s FROM users ON CONFLICT DO NOTHING",
                (moving[step % len(moving)],),
            )
        api.put(f"/posts/{moving[step % len(moving)]}/vote", headers=bob.auth)

    seen = walk(api, f"sort={sort}&limit=7", between=others)
    assert len(seen) == len(set(seen))
    still = set(range(1, 61)) - set(moving)
    assert still <= set(seen)


def test_a_vote_taken_back_before_paging_began_hides_no_post(api: Api) -> None:
    fill(api, 12, voters=12)
    with api.connect() as connection:
        connection.execute("DELETE FROM votes WHERE user_id % 2 = 0")
    assert sorted(walk(api, "sort=top&limit=2")) == list(range(1, 13))


def test_a_number_that_fell_on_another_server_hides_no_post(api: Api) -> None:
    fill(api, 12)
    with api.connect() as connection:
        connection.execute("UPDATE post_ranks SET fell = 9000000000")
    assert sorted(walk(api, "sort=top&limit=5")) == list(range(1, 13))


def test_a_cursor_is_good_for_its_own_list_and_unaltered_only(api: Api) -> None:
    ada = fill(api, 12)
    lists = ["sort=new", "sort=top", "sort=hot", "q=post", f"owner={ada.id}", f"owner={ada.id}&sort=top"]
    cursors = {query: api.get(f"/posts?limit=2&{query}").json()["next_cursor"] for query in lists}
    for made_for, cursor in cursors.items():
        for query in lists:
            status = api.get(f"/posts?limit=5&{query}&cursor={cursor}").status_code
            assert status == (200 if query == made_for else 422), (made_for, query)
    good = cursors["sort=new"]
    for n in range(len(good)):
        altered = good[:n] + ("A" if good[n] != "A" else "B") + good[n + 1 :]
        assert api.get(f"/posts?cursor={altered}").status_code == 422
    for altered in ("", "x", good + "A", good[:-1], good + "=", "%00", "9" * 9000):
        assert api.get(f"/posts?cursor={altered}").status_code == 422


def test_a_cursor_holds_the_snapshot_of_a_busy_database(api: Api) -> None:
    fill(api, 3)
    running = sorted(Random(1).sample(range(10**9, 2 * 10**9), 1000))
    snapshot = f"{running[0]}:{running[-1] + 1}:{','.join(map(str, running))}"
    cursor = api.application.state.cursors.write(
        lists.Feed(list_queries.Sort.top, None, None).purpose, {"votes": 0, "id": 99, "snapshot": snapshot}
    )
    assert len(cursor) > 5000
    assert len(ids(api.get(f"/posts?sort=top&cursor={cursor}"))) == 3


def test_drafts_are_in_the_lists_of_their_owner_alone(api: Api) -> None:
    ada, bob = api.person(), api.person()
    public, draft = write(api, ada, content="quartz"), write(api, ada, content="quartz", published=False)
    orders, whose, words = ("sort=new", "sort=top", "sort=hot"), ("", f"&owner={ada.id}"), ("", "&q=quartz")
    for query in ("".join(parts) for parts in product(orders, whose, words)):
        assert set(walk(api, query + "&limit=1", auth=ada.auth)) == {draft, public}, query
        assert walk(api, query, auth=bob.auth) == walk(api, query) == [public], query


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=-1", "limit=1.5", "limit=x", "sort=best", "sort=", "owner=0", "owner=x",
     "owner=99999999999999999999", "cursor=x", "q=" + "x" * 201],
)  # fmt: skip
def test_parameters_out_of_bounds_are_named(api: Api, query: str) -> None:
    answer = api.get(f"/posts?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0]


def test_a_page_says_who_wrote_and_whether_you_voted(api: Api) -> None:
    ada, bob = api.person(display_name="Ada"), api.person()
    one, two = write(api, ada), write(api, ada)
    api.put(f"/posts/{one}/vote", headers=bob.auth)
    found = {post["id"]: post for post in api.get("/posts", headers=bob.auth).json()["items"]}
    assert (found[one]["voted"], found[two]["voted"], found[one]["votes"]) == (True, False, 1)
    assert found[one]["owner"] == {"id": ada.id, "display_name": "Ada"}
    assert api.get("/posts").json()["items"][0]["voted"] is None


def test_an_ended_session_reads_no_list_and_no_post(api: Api) -> None:
    ada = api.person()
    post = write(api, ada)
    api.post("/logout", headers=ada.auth)
    for path in ("/posts", "/posts?sort=top", "/posts?q=title", "/posts?q=nothing", f"/posts/{post}"):
        assert api.get(path, headers=ada.auth).status_code == 401
    assert api.put(f"/posts/{post}/vote", headers=ada.auth).status_code == 401
