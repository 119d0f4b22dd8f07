"""What PostgreSQL says differently: the store's SQL is SQLite's, and is translated here, once for each statement."""

import re
from functools import cache

from local_server.store import inspection
from local_server.store.searches import HAS_TAGS

# What is replaced in a statement, in this order.
DIALECT = [
    # JSON with a NUL cannot be looked into here: such tags are found by no search
    (re.escape(HAS_TAGS), r"CASE WHEN strpos(tags || :wanted, '\\u0000') = 0 THEN tags::jsonb @> (:wanted)::jsonb END"),
    (r"json_each\((:\w+)\)", r"json_array_elements(CAST(\1 AS json))"),
    (r"CROSS JOIN (.+?) ON", r"JOIN \1 ON"),  # for SQLite it tells the order in which to join
    (r"INDEXED BY \w+", ""),
    (r"\bLIKE\b", "ILIKE"),
    ("%", "%%"),
    (r"(?<!:):(\w+)", r"%(\1)s"),
]  # fmt: skip
# The same for the schema.
TYPES = [
    (r"--.*", ""),
    (r"\bINTEGER PRIMARY KEY\b", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    (r"\bINTEGER\b", "BIGINT"),
    (r"\bREAL\b", "DOUBLE PRECISION"),
    (r"\bTEXT\b", 'TEXT COLLATE "C"'),  # ordered by its bytes
    (r"\bWITHOUT ROWID\b", ""),
    # in SQLite every index ends with the sort, and finds the next by it
    (r"\((root|waits_for|parent)\) WHERE", r"(\1, sort) WHERE"),
]

# Of each version of the tables after the first, in order: the SQL that makes them out of those before.
MIGRATIONS = [
    "DROP INDEX promises_ended",
    """CREATE TABLE uploads (id BIGINT NOT NULL PRIMARY KEY, promise TEXT COLLATE "C");
        CREATE INDEX uploads_promise ON uploads (promise);
        CREATE TABLE parts (id BIGINT NOT NULL PRIMARY KEY, text TEXT COLLATE "C" NOT NULL)""",
]


def schema() -> str:
    """Return the SQL that makes the tables of a new database."""
    return _translated(inspection.schema(), TYPES)


def _translated(sql: str, dialect: list[tuple[str, str]]) -> str:
    for ours, theirs in dialect:
        sql = re.sub(ours, theirs, sql)
    return sql


@cache
def statement(sql: str) -> tuple[str, bool, bool]:
    """Return a statement as PostgreSQL has it, whether it writes, and whether it returns rows."""
    writes = re.search(r"\b(INSERT|UPDATE|DELETE)\b", sql) is not None
    return _translated(sql, DIALECT), writes, not writes or "RETURNING" in sql
