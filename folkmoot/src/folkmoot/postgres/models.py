"""The tables, as SQLAlchemy describes them: what migrations are compared with and generated from."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads the annotations)

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Computed,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    String,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

import folkmoot.postgres.moderation_models  # noqa: F401 (its tables)
from folkmoot.postgres.base import Base

#: With it, the tables of both files.
__all__ = ["Base"]


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    email: Mapped[str] = mapped_column(String, unique=True)
    password: Mapped[str] = mapped_column(String)
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))
    phone_number: Mapped[str | None] = mapped_column(String)
    display_name: Mapped[str | None] = mapped_column(String)
    #: Older than the rule that letter case does not tell addresses apart, and sharing its address but for
    #: case with an older account still; the person logs in by the exact spelling.
    duplicate_email: Mapped[bool] = mapped_column(server_default=text("FALSE"))
    #: When the person followed a link that was sent to the address.
    email_verified_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    #: Whether they may remove posts and block accounts; `folkmoot grant-admin` says so.
    administrator: Mapped[bool] = mapped_column(server_default=text("FALSE"))
    blocked_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    blocked_reason: Mapped[str | None] = mapped_column(String)

    __table_args__ = (
        Index(
            "users_email_lower_key", text("lower(email)"), unique=True,
            postgresql_where=text("NOT duplicate_email"),
        ),
        Index(
            "users_bcrypt_cost", text("substr(password::text, 5, 2)"),
            postgresql_where=text("password ~ '^\\$2[aby]\\$(0[4-9]|1[0-5])\\$[./A-Za-z0-9]{53}$'"),
        ),
    )  # fmt: skip


class Session(Base):
    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"))
    family_hash: Mapped[bytes] = mapped_column(LargeBinary)
    refresh_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))
    last_used_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))
    expires_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    client: Mapped[str | None] = mapped_column(String)
    user_agent: Mapped[str | None] = mapped_column(String)

    __table_args__ = (Index("sessions_user_id_idx", "user_id"),)


class LoginFailure(Base):
    __tablename__ = "login_failures"

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    failures: Mapped[int]
    until: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))

    __table_args__ = (Index("login_failures_until_idx", "until"),)


class RequestCount(Base):
    """How often a client or a person did something that is limited, until its time is over."""

    __tablename__ = "request_counts"

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    requests: Mapped[int]
    until: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))

    __table_args__ = (Index("request_counts_until_idx", "until"), {"prefixes": ["UNLOGGED"]})


class SeenPosition(Base):
    """How far into the write-ahead log a person or a client has seen, where reads go to replicas."""

    __tablename__ = "seen_positions"

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    #: Bytes from the beginning of the log, a pg_lsn as a number.
    position: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012 (as SQLAlchemy has it)


class OutgoingMail(Base):
    """Mail that is to be sent: written in the transaction that causes it, gone when it was sent."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    purpose: Mapped[str] = mapped_column(String)
    user_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"))
    #: What somebody typed who may have no account: looked up when the mail is to be sent.
    address: Mapped[str | None] = mapped_column(String)
    #: What the link is made of, together with a key that is not in the database.
    nonce: Mapped[bytes] = mapped_column(LargeBinary)
    #: The hash of the link, once it was made.
    link: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))
    #: When to try next: while somebody sends it, when another may.
    due_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None] = mapped_column(String)

    __table_args__ = (Index("outbox_due_at_idx", "due_at"), Index("outbox_user_id_idx", "user_id"))


class EmailLink(Base):
    """A link that was sent by mail and is good for one use."""

    __tablename__ = "email_links"

    hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"))
    purpose: Mapped[str] = mapped_column(String)
    #: A digest of what must still be so when it is used: the address, and for a new password the old one.
    state: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))
    expires_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))

    __table_args__ = (
        Index("email_links_user_id_idx", "user_id"),
        Index("email_links_expires_at_idx", "expires_at"),
    )


class Post(Base):
    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    title: Mapped[str] = mapped_column(String)
    content: Mapped[str] = mapped_column(String)
    owner_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("users.id", name="post_users_fk", ondelete="CASCADE")
    )
    published: Mapped[bool] = mapped_column(server_default=text("TRUE"))
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))

    #: How often the post was edited, plus one; kept by the database.
    version: Mapped[int] = mapped_column(server_default=text("1"))
    #: What search looks in; kept by the database.
    document: Mapped[str | None] = mapped_column(TSVECTOR)

    __table_args__ = (
        Index("posts_published", "id", postgresql_where=text("published")),
        Index("posts_owner", "owner_id", "published", "id"),
        Index(
            "posts_document",
            "document",
            postgresql_using="gin",
            postgresql_with={"gin_pending_list_limit": "256"},
        ),
    )


class PostRank(Base):
    """What lists of posts are ordered by, one row a post; kept by the database, written by nobody else."""

    __tablename__ = "post_ranks"

    post_id: Mapped[int] = mapped_column(
        BigInteger,
        ForeignKey("posts.id", ondelete="CASCADE", onupdate="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )
    owner_id: Mapped[int] = mapped_column(BigInteger)
    published: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    votes: Mapped[int] = mapped_column(server_default=text("0"))
    #: How many comments it has that are not deleted.
    comments: Mapped[int] = mapped_column(server_default=text("0"))
    #: The transaction that last lowered the number of votes.
    fell: Mapped[int | None] = mapped_column(BigInteger)
    #: Ten times the votes weigh as much as being 12.5 hours younger.
    hot: Mapped[float] = mapped_column(
        Double,
        Computed(
            "log((GREATEST(votes, 1))::double precision)"
            " + date_part('epoch', created_at AT TIME ZONE 'UTC') / 45000",
            persisted=True,
        ),
    )

    __table_args__ = (
        Index("post_ranks_top", "votes", "post_id", postgresql_where=text("published")),
        Index("post_ranks_hot", "hot", "post_id", postgresql_where=text("published")),
        Index("post_ranks_owner_top", "owner_id", "published", "votes", "post_id"),
        Index("post_ranks_owner_hot", "owner_id", "published", "hot", "post_id"),
    )


class Vote(Base):
    __tablename__ = "votes"

    user_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    post_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True
    )

    __table_args__ = (Index("votes_post_id", "post_id"),)


class Comment(Base):
    """What somebody says on a post, or in answer to another comment on it.

    Its owner is null once it is deleted; it is still there while it has answers.
    """

    __tablename__ = "comments"

    post_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(BigInteger)
    owner_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="SET NULL"))
    content: Mapped[str] = mapped_column(String)
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))
    #: How often it was edited, plus one; kept by the database, as what follows.
    version: Mapped[int] = mapped_column(server_default=text("1"))
    #: The ids from the post's own comment down to this one: a thread is read in this order.
    path: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    votes: Mapped[int] = mapped_column(server_default=text("0"))

    __table_args__ = (
        CheckConstraint("cardinality(path) <= 32", name="comments_depth"),
        CheckConstraint("owner_id IS NOT NULL OR content = ''", name="comments_deleted"),
        ForeignKeyConstraint(
            ["post_id", "parent_id"], ["comments.post_id", "comments.id"], name="comments_parent_fk"
        ),
        Index("comments_thread", "post_id", "path"),
        Index("comments_answers", "post_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("comments_owner", "owner_id", "id"),
    )


class CommentVote(Base):
    __tablename__ = "comment_votes"

    user_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    post_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    comment_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)

    __table_args__ = (
        ForeignKeyConstraint(
            ["post_id", "comment_id"], ["comments.post_id", "comments.id"], ondelete="CASCADE"
        ),
        Index("comment_votes_comment", "post_id", "comment_id"),
    )
