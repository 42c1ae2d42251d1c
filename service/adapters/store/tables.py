"""The tables, the same on SQLite and PostgreSQL. Arrays are raw little-endian bytes in C order."""

from __future__ import annotations

from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

METADATA = MetaData()

_ID = BigInteger().with_variant(Integer, "sqlite")  # the only type that SQLite numbers by itself
_NAME = String(128)
_TAG = String(255)


class State(IntEnum):
    """How far a delivery of labels has come."""

    NEW = 0
    """Nobody has looked whether its request is known."""
    WAITING = 1
    """Its request, or part of it, is not known yet; woken when a record of it is written."""
    DONE = 2


SCHEMA = Table(
    "understudy_schema",
    METADATA,
    Column("version", Integer, nullable=False),
    Column("usable_from", Integer, nullable=False),
)
"""One row: the version of the tables, and of the oldest service that may use them."""

ANSWERERS = Table(
    "answerers",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("description", Text, nullable=False),
)
"""Models in their roles, as JSON; told apart by the SHA-256 of it, because an index takes no long texts."""

RECORDS = Table(
    "records",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("request_id", _NAME, nullable=False),
    Column("first", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("answered_at", Double, nullable=False),
    Column("answerer", Integer, nullable=False),
    Column("joined", Integer, nullable=False),
    Column("scores", LargeBinary, nullable=False),
    Column("evidence", LargeBinary),
    Column("slices", LargeBinary),
    UniqueConstraint("request_id", "first"),
)
"""Answers, one row for each request or part of one: scores float32, evidence float64, slices uint32.

Ids grow with time, so the oldest are found without an index on the time.
"""

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("request_id", _NAME, nullable=False),
    Column("number", Integer, nullable=False),
    Column("labels", Text, nullable=False),
    Column("labelled_at", Double, nullable=False),
    Column("state", SmallInteger, nullable=False),
    UniqueConstraint("request_id", "number"),
)
"""Labels as JSON, one row each time some come that are new; ``number`` counts those of a request from 0, and
goes on where older ones were deleted.

The constraint lets only one of two callers tell the next news of a request.
"""

OPEN = DELIVERIES.c.state < literal_column(str(int(State.DONE)))
"""Belongs into every query by state: SQLite only takes a partial index whose condition it reads there."""
Index("deliveries_open", DELIVERIES.c.state, DELIVERIES.c.id, sqlite_where=OPEN, postgresql_where=OPEN)

KNOWLEDGE = Table(
    "knowledge",
    METADATA,
    Column("key", String(255), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""What was learnt from joined rows; opaque here."""

PAIRINGS = Table(
    "pairings",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("production", _TAG, nullable=False),
    Column("candidate", _TAG, nullable=False),
    Column("digest", String(32), nullable=False),
    Column("description", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("written_at", Double, nullable=False),
    UniqueConstraint("digest", "production", "candidate"),
)
"""Models under comparison, and when the first and the last of their evidence was written.

Whoever changes sums or cases of one has its row locked until the transaction ends.
"""

WRITERS = Table(
    "writers",
    METADATA,
    Column("pairing", Integer, primary_key=True, autoincrement=False),
    Column("writer", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
)
"""The number of the last batch that each process has written."""

TOTALS = Table(
    "totals",
    METADATA,
    Column("pairing", Integer, primary_key=True, autoincrement=False),
    Column("book", String(32), primary_key=True),
    Column("page", Text, primary_key=True),
    Column("sums", LargeBinary, nullable=False),
)
"""All that was ever seen of each page, float64; what ``HOURS`` has and what left it."""

HOURS = Table(
    "hours",
    METADATA,
    Column("pairing", Integer, primary_key=True, autoincrement=False),
    Column("book", String(32), primary_key=True),
    Column("page", Text, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("sums", LargeBinary, nullable=False),
    Index("hours_by_hour", "hour", "pairing"),
)
"""The same by hours since 1970."""

CASES = Table(
    "cases",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("pairing", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("slice", Text, nullable=False),
    Column("rank", Double, nullable=False),
    Column("request_id", _NAME, nullable=False),
    Column("row", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("document", Text, nullable=False),
    UniqueConstraint("pairing", "kind", "slice", "request_id", "row"),
    Index("cases_by_rank", "pairing", "kind", "slice", "rank"),
    Index("cases_by_age", "at"),
)
"""Single rows worth a look, as JSON."""

ANSWERS = Table(
    "paired_answers",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("request_id", _NAME, nullable=False),
    Column("pairing", Integer, nullable=False),
    Column("first", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("answered_at", Double, nullable=False),
    Column("joined", Integer, nullable=False),
    Column("scores", LargeBinary, nullable=False),
    Column("slices", LargeBinary),
    UniqueConstraint("request_id", "pairing", "first"),
)
"""Both models' answers, one row for each request or part of one: scores float32 [2, rows, outputs], those of
production first; slices uint32. Ids grow with time, as those of records do."""

DISTRIBUTIONS = Table(
    "distributions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("tag", _TAG, nullable=False),
    Column("role", String(16), nullable=False),
    Column("digest", String(32), nullable=False),
    Column("since", Double, nullable=False),
    Column("written_at", Double, nullable=False),
    UniqueConstraint("digest", "tag", "role"),
)
"""Models whose rows are counted by bin, and when somebody first and last wrote of them.

Whoever adds rows of one has its row locked until the transaction ends.
"""

DISTRIBUTION_WRITERS = Table(
    "distribution_writers",
    METADATA,
    Column("distribution", Integer, primary_key=True, autoincrement=False),
    Column("writer", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
)
"""The number of the last batch that each process has written."""

DISTRIBUTION_SLOTS = Table(
    "distribution_slots",
    METADATA,
    Column("distribution", Integer, primary_key=True, autoincrement=False),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("counts", LargeBinary, nullable=False),
)
"""Rows by bin, float64, by slots since 1970; see ``service.domain.drift.slots``."""
