"""Export: what a site serves of a published run goes to the database that the site reads."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, replace
from datetime import date
from types import ModuleType
from urllib.parse import parse_qsl, urlsplit

from recmodel.errors import UsageRejected
from recmodel.formatting import is_secret
from recmodel.progress import Stages
from recmodel.tables import served
from recmodel.tables.output import open_output
from recmodel.tables.served import Exported

SCHEMA = "recmodel"
_VARIABLE = "env:"
_KINDS = {"postgresql": "PostgreSQL", "postgres": "PostgreSQL", "redis": "Redis", "rediss": "Redis"}  # by scheme
_PASSWORDS = {"PostgreSQL": "PGPASSWORD", "Redis": "REDISCLI_AUTH"}
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Target:
    """A database that a site reads."""

    kind: str  # PostgreSQL or Redis
    address: str  # with the password, if it comes from a variable: neither printed nor logged
    shown: str


def target(to: str) -> Target:
    """Return the database that `--to` names: its address, or `env:` and the variable that holds it.

    Raises:
        UsageRejected: there is no such kind of database, the variable is not set, or the command line has a password.
    """
    variable = to.removeprefix(_VARIABLE) if to.startswith(_VARIABLE) else None
    address = to if variable is None else os.environ.get(variable, "")
    if not address:
        raise UsageRejected(f"the environment variable {variable} is not set; it should hold the database's address")
    parts = urlsplit(address)
    kind = _KINDS.get(parts.scheme)
    if kind is None:
        what = f"{parts.scheme}://… is" if variable is None and parts.scheme else f"{to.partition(':')[0]}: leads to"
        raise UsageRejected(
            f"{what} no database that can be exported to; write postgresql://user@host/database or "
            "redis://host:6379/0, or env: and the variable that holds such an address"
        )
    has_secret = "@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]
    has_secret |= any(is_secret(name) for name, _ in parse_qsl(parts.query))
    if variable is None and has_secret:
        raise UsageRejected(
            "the address in --to holds a password, which others see in the list of processes; give it in the "
            f"environment ({_PASSWORDS[kind]}), or the whole address by --to env:VARIABLE"
        )
    host = parts.netloc.rpartition("@")[2]
    return Target(kind, address, f"{parts.scheme}://{host}{parts.path}" if variable is None else to)


def export(
    location: str,
    run_date: date | None,
    to: Target,
    stages: Stages,
    *,
    schema: str = SCHEMA,
    changed_only: bool = False,
) -> Exported:
    """Load a full run into a database, and show it to those who read there, in one step.

    Args:
        location: of the output, of any format.
        run_date: None: the newest full run.
        schema: PostgreSQL's, or what Redis' keys begin with.
        changed_only: write only what differs from what is shown there.

    Raises:
        UsageRejected: there is no such run, or it has no lists; a package or a right is missing; a wrong password.
        AnotherRun: another export to the same place is under way.
        ScoringFailed: it could not be done; readers there have what they had before.
    """
    if not _NAME.fullmatch(schema):
        raise UsageRejected(f"{schema!r} cannot be the schema; take small letters, digits and _, at most 40")
    started = time.monotonic()
    database = _module(to.kind)
    run = served.open_run(open_output(location), run_date)
    done = database.export(run, to.address, schema, stages, changed_only=changed_only)
    return replace(done, seconds=round(time.monotonic() - started, 1))


def _module(kind: str) -> ModuleType:
    """Return the module for a kind of database, whose package is an extra."""
    try:
        if kind == "PostgreSQL":
            from recmodel.pipeline import to_postgresql

            return to_postgresql
        from recmodel.pipeline import to_redis

        return to_redis
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("psycopg", "redis"):
            raise
        raise UsageRejected(
            f"exporting to {kind} needs the package {error.name}; install it with: "
            f"pip install 'recmodel[{kind.lower()}]'"
        ) from None
