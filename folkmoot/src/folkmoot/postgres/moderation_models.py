"""The tables of moderation, as `models` describes the others."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads the annotations)

from sqlalchemy import TIMESTAMP, BigInteger, ForeignKey, ForeignKeyConstraint, Identity, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from folkmoot.postgres.base import Base


class Withheld(Base):
    """A post that is kept from everybody but its owner: it was removed, or its owner is blocked.

    As long as there is a row, the database keeps `posts.published` false.
    """

    __tablename__ = "withheld"

    post_id: Mapped[int] = mapped_column(
        BigInteger,
        ForeignKey("posts.id", ondelete="CASCADE", onupdate="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )
    #: Whether it is to be published again afterwards.
    published: Mapped[bool]
    #: When and why an administrator removed it, if one did.
    removed_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    reason: Mapped[str | None] = mapped_column(String)


class WithheldComment(Base):
    """Who wrote a comment, and what it says, while it is a deleted one for everybody else: it was removed, or
    its author is blocked.

    As long as there is a row, the database keeps the comment's place.
    """

    __tablename__ = "withheld_comments"

    post_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    comment_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    owner_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"))
    content: Mapped[str] = mapped_column(String)
    #: When and why an administrator removed it, if one did.
    removed_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    reason: Mapped[str | None] = mapped_column(String)

    __table_args__ = (
        ForeignKeyConstraint(
            ["post_id", "comment_id"], ["comments.post_id", "comments.id"], ondelete="CASCADE"
        ),
        Index("withheld_comments_owner", "owner_id", "comment_id"),
    )


class Report(Base):
    """What somebody reports about a post: one a person and post."""

    __tablename__ = "reports"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"))
    post_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("posts.id", ondelete="CASCADE"))
    reason: Mapped[str] = mapped_column(String)
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))
    settled_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))

    __table_args__ = (
        Index("reports_one_each", "post_id", "user_id", unique=True),
        Index("reports_user_id_idx", "user_id"),
        Index("reports_open", "id", postgresql_where=text("settled_at IS NULL")),
    )


class CommentReport(Base):
    """What somebody reports about a comment: one a person and comment."""

    __tablename__ = "comment_reports"

    #: From the sequence of `reports.id`, so that both are one queue.
    report_id: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, autoincrement=False, server_default=text("nextval('reports_id_seq')")
    )
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"))
    post_id: Mapped[int] = mapped_column(BigInteger)
    comment_id: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String)
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))
    settled_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))

    __table_args__ = (
        ForeignKeyConstraint(
            ["post_id", "comment_id"], ["comments.post_id", "comments.id"], ondelete="CASCADE"
        ),
        Index("comment_reports_one_each", "post_id", "comment_id", "user_id", unique=True),
        Index("comment_reports_user_id_idx", "user_id", "report_id"),
        Index("comment_reports_open", "report_id", postgresql_where=text("settled_at IS NULL")),
    )


class Moderation(Base):
    """What administrators did. Without foreign keys: it stays when people and posts go."""

    __tablename__ = "moderation_log"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=text("now()"))
    #: Null: it was done by a command.
    administrator_id: Mapped[int | None] = mapped_column(BigInteger)
    action: Mapped[str] = mapped_column(String)
    person_id: Mapped[int | None] = mapped_column(BigInteger)
    post_id: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str | None] = mapped_column(String)
    comment_id: Mapped[int | None] = mapped_column(BigInteger)
