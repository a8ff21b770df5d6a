"""Made-up people, posts, comments and votes as rows: the same ones for the same seed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, LiteralString

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from random import Random


def _words(text: str) -> list[str]:
    return text.split()


_FIRST = _words("""
    Ada Amir Ana Bjorn Chidi Chloe Dana Emeka Eva Farid Greta Hana Ines Ivan Joao Kaya Lars Leila
    Mei Nils Noor Olga Pilar Quinn Ravi Rosa Sami Tove Uma Vera Wen Yara Zoe
""")
_LAST = _words("""
    Abara Berg Castro Dahl Eriksen Fischer Garcia Haddad Ito Jansen Khan Lindqvist Moreau Novak
    Okafor Petrov Quist Rossi Sato Tanaka Ueda Vogel Weber Xu Young Zhang
""")
_NOUNS = _words("""
    bench bridge budget bus calendar choir clinic corner crossing field fence festival fountain
    garden hall harbour hill kitchen lamp library market meadow meeting museum orchard park path
    playground pool proposal queue recycling river roof school shed sign square station street
    survey theatre timetable train tree vote well workshop
""")
_VERBS = _words("""
    build buy change clean close fix keep light map mend move open paint plan plant protect rebuild
    rename repair replace save share start test widen
""")
_ADJECTIVES = _words("""
    accessible big broken bright busy cheap closed common dark empty green late loud muddy
    narrow new old open public quiet safe slow small steep wet wide
""")
_TITLES = (
    "Let us {verb} the {adjective} {noun}",
    "Who could {verb} the {noun}?",
    "The {noun} by the {place} {noun2}",
    "The {adjective} {noun} of {place}",
    "Why is the {noun} so {adjective}?",
    "{place}: {verb} the {noun} first",
    "Minutes of the {noun} meeting",
    "How we {verb} the {noun} in {place}",
)
_SENTENCES = (
    "The {noun} near the {noun2} has been {adjective} for months.",
    "Last week somebody asked whether we should {verb} the {noun} before the {noun2}.",
    "It would cost less to {verb} the {adjective} {noun} than to {verb2} another {noun2}.",
    "Most of us pass the {noun} every day and nobody has time to {verb} it.",
    "I have spoken with the people of the {noun2} and they would help us {verb} the {noun}.",
    "If we {verb} the {noun}, the {adjective} {noun2} stays as it is.",
    "Please bring pictures of the {noun} to the next {noun2} meeting.",
    "Neither the {adjective} {noun} nor the {noun2} is in the plan for this year.",
    "Could the council {verb} the {noun} there and {verb2} the {noun2} afterwards?",
    "We tried to {verb} it in spring, but the {noun} was too {adjective}.",
)
_SYLLABLES = _words("""
    bar bel bro cas dor dun eld fal fen gar hol kel lin mar mor nor ost pel ras sel tor ul ven wick
""")
_USER_COLUMNS: LiteralString = "id, email, password, created_at, display_name"
_POST_COLUMNS: LiteralString = "id, title, content, published, created_at, owner_id"


@dataclass(frozen=True)
class Amounts:
    """How many of each to make."""

    users: int
    posts: int
    votes: int
    #: And about as many votes on them.
    comments: int = 0

    def __post_init__(self) -> None:
        if min(self.users, self.posts, self.votes, self.comments) < 0:
            raise ValueError("--users, --posts, --votes and --comments take numbers from 0")
        if self.posts and not self.users:
            raise ValueError("posts need somebody who writes them: --users takes at least 1")
        published = sum(not is_draft(n) for n in range(self.posts))
        if self.comments and not published:
            raise ValueError("comments need a post: --posts takes at least 1")
        if self.votes > self.users * published:
            raise ValueError(
                f"{self.users} people have at most {self.users * published} votes on {published} published "
                f"posts: --votes {self.votes} is too many"
            )


def people(random: Random, first: int, amount: int, password_hash: str) -> Iterator[Sequence[object]]:
    now = datetime.now(UTC)
    for n in range(amount):
        name = f"{random.choice(_FIRST)} {random.choice(_LAST)}"
        email = f"{name.lower().replace(' ', '.')}.{first + n}@example.org"
        yield first + n, email, password_hash, now - timedelta(days=400, seconds=amount - n), name


def posts(random: Random, first: int, amount: int, first_user: int, users: int) -> Iterator[Sequence[object]]:
    now = datetime.now(UTC)
    # Place names are rare words, the rest is common: searches for either find what they would in real text.
    places = ["".join(random.choices(_SYLLABLES, k=3)).capitalize() for _ in range(20_000)]
    sentences = [_phrase(random, random.choice(_SENTENCES), places) for _ in range(4000)]
    writers = list(accumulate(1 / (n + 10) for n in range(users)))
    for n in range(amount):
        title = _phrase(random, random.choice(_TITLES), places)
        content = " ".join(random.choices(sentences, k=random.randint(2, 9)))
        if n % 2:
            content += f" It is not far from {random.choice(places)}."
        # A year of posts, the newest a minute ago.
        created_at = now - timedelta(seconds=60 + (amount - 1 - n) * 365 * 86_400 / amount)
        owner = first_user + random.choices(range(users), cum_weights=writers)[0]
        yield first + n, title, content, not is_draft(n), created_at, owner


def _phrase(random: Random, template: str, places: Sequence[str]) -> str:
    noun, noun2 = random.sample(_NOUNS, 2)
    verb, verb2 = random.sample(_VERBS, 2)
    return template.format(
        noun=noun, noun2=noun2, verb=verb, verb2=verb2,
        adjective=random.choice(_ADJECTIVES), place=random.choice(places),
    )  # fmt: skip


def votes(random: Random, amounts: Amounts, first_user: int, first_post: int) -> Iterator[Sequence[object]]:
    people = range(first_user, first_user + amounts.users)
    for n, votes in enumerate(_popularity(random, amounts, amounts.votes, amounts.users)):
        for voter in random.sample(people, votes):
            yield voter, first_post + n


def discussed(random: Random, amounts: Amounts) -> list[int]:
    """On which post each comment is, counted from 0, in the order in which people wrote."""
    numbers = enumerate(_popularity(random, amounts, amounts.comments, amounts.comments))
    posts = [n for n, comments in numbers for _ in range(comments)]
    random.shuffle(posts)
    return posts


def comments(
    random: Random, posts: Sequence[int], first: int, first_post: int, people: range
) -> Iterator[Sequence[object]]:
    """Threads: half of the comments answer another one of the same post, eight levels deep at most."""
    now = datetime.now(UTC)
    sentences = [_phrase(random, random.choice(_SENTENCES), ["here"]) for _ in range(1000)]
    threads: dict[int, list[list[int]]] = {}
    for n, post in enumerate(posts):
        thread = threads.setdefault(post, [])
        above = random.choice(thread)[:7] if thread and random.random() < 0.5 else []
        thread.append([*above, first + n])
        yield (
            first_post + post, first + n, above[-1] if above else None, random.choice(people),
            " ".join(random.choices(sentences, k=random.randint(1, 3))),
            now - timedelta(seconds=(len(posts) - n) * 30), "{" + ",".join(map(str, thread[-1])) + "}",
        )  # fmt: skip


def comment_votes(
    random: Random, posts: Sequence[int], first: int, first_post: int, people: range
) -> Iterator[Sequence[object]]:
    """One comment in ten has ten votes, or those of all people."""
    for n in range(0, len(posts), 10):
        for voter in random.sample(people, min(10, len(people))):
            yield voter, first_post + posts[n], first + n


def is_draft(n: int) -> bool:
    return n % 50 == 7


def _popularity(random: Random, amounts: Amounts, total: int, most: int) -> Iterable[int]:
    """How many votes or comments each post has, at most so many each, and so many together."""
    if not total:
        return []
    weights = [0.0 if is_draft(n) else random.paretovariate(1.2) for n in range(amounts.posts)]
    share = total / sum(weights)
    counts = [min(int(weight * share), most) for weight in weights]
    missing = total - sum(counts)
    while missing:
        n = random.randrange(amounts.posts)
        if counts[n] < most and not is_draft(n):
            more = min(missing, most - counts[n], 1 + missing // amounts.posts)
            counts[n] += more
            missing -= more
    return counts
