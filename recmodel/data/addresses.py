"""Addresses: tables that are not files, and where a user says that they are.

`table:db.ratings` and `sql:SELECT …` are what Spark's catalogue knows; `iceberg:catalog.namespace.ratings` is what one
of PyIceberg's catalogues knows. `--data table:db` and `--data iceberg:catalog.namespace` name all tables at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from recmodel.data.layouts import TABLES
from recmodel.data.limits import Input
from recmodel.errors import UsageRejected
from recmodel.formatting import redacted

_KINDS = ("table", "sql", "iceberg")


@dataclass(frozen=True)
class Address:
    """Where one table is."""

    kind: str  # one of table, sql and iceberg
    name: str  # of the table, or the query
    may_be_missing: bool = False

    def __str__(self) -> str:
        return redacted(f"{self.kind}:{self.name}")  # ends up in run.json


def is_address(text: str) -> bool:
    """Return whether a text is an address of this kind, not a path or a URI."""
    return text.partition(":")[0] in _KINDS and ":" in text


def of_tables(data: str, settings: Input) -> dict[str, Address]:
    """Return the addresses of those tables that are not among the files of `data`.

    Args:
        data: what `--data` takes.

    Raises:
        UsageRejected: one of them names no table.
    """
    found = {}
    if is_address(data):
        kind, name = data.split(":", 1)
        if kind == "sql":
            raise UsageRejected(f"--data {data}: a query is one table; give it as input.ratings or input.movies")
        for table in TABLES:
            found[table] = _parse("--data", f"{kind}:{name}.{table}", may_be_missing=table == "links")
    for table in TABLES:
        text = getattr(settings, table)
        if text:
            found[table] = _parse(f"input.{table}", text)
    return found


def _parse(setting: str, text: str, *, may_be_missing: bool = False) -> Address:
    kind, _, name = text.partition(":")
    if not is_address(text):
        raise UsageRejected(
            f"{setting} is {text!r}; it takes table:db.name, sql:SELECT … or iceberg:catalog.namespace.name, and "
            "--data takes the directory of files"
        )
    name = name.strip()
    parts = re.findall(r"`[^`]+`|[^.`\s]+", name)
    if kind != "sql" and (".".join(parts) != name or len(parts) < (3 if kind == "iceberg" else 1)):
        form = "iceberg:catalog.namespace.table" if kind == "iceberg" else "table:db.table"
        raise UsageRejected(f"{setting}: {text} names no table; the form is {form}")
    if not name:
        raise UsageRejected(f"{setting}: {text} holds no query; the form is sql:SELECT …")
    return Address(kind, name, may_be_missing)
