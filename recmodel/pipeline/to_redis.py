"""To Redis: a run's lists and similar movies under a prefix of their own, which one key then names.

PREFIX:current                           the prefix of the run that readers use, such as PREFIX:2026-01-31-1a2b3c4d
PREFIX:2026-01-31-1a2b3c4d:run           what was exported, as JSON
PREFIX:2026-01-31-1a2b3c4d:user:42       the list of a user, as JSON
PREFIX:2026-01-31-1a2b3c4d:similar:1196  what is similar to a movie, as JSON
PREFIX:prefixes                          a set of the prefixes that have keys
PREFIX:lock                              who exports

Readers take two steps: GET PREFIX:current, then GET <prefix>:user:42. The run before is removed some seconds later, so
who has taken the first step has time for the second.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import redis
from redis import exceptions
from redis.lock import Lock

from recmodel import schemas as c
from recmodel.errors import AnotherRun, ScoringFailed, UsageRejected
from recmodel.progress import NOTICE, Stages, log
from recmodel.tables import as_text
from recmodel.tables.served import Exported, ServedRun

GRACE = 10.0  # seconds that readers have between their two steps
_LOCK_SECONDS = 10.0  # after which the lock of an export that was killed is free
_PATIENCE = _LOCK_SECONDS + 1
_AT_A_TIME = 2000  # keys in a pipeline
_SECONDS_TO_CONNECT, _SECONDS_TO_ANSWER = 10, 60


def export(run: ServedRun, address: str, prefix: str, stages: Stages) -> Exported:
    """Load a run under a new prefix, and let PREFIX:current name it.

    Args:
        address: redis:// or rediss://; without a password in it, REDISCLI_AUTH is taken.
        prefix: what all keys begin with.

    Raises:
        AnotherRun: another export under the prefix is under way.
        UsageRejected: the server refuses the account, or it is a replica.
        ScoringFailed: anything else; readers have what they had before.
    """
    with _sentences(), _connected(address) as client, _locked(client, prefix) as lock:
        name = f"{prefix}:{run.run_date}-{run.key[:8]}"
        current = client.get(f"{prefix}:current")
        if current == name:
            _remove_others(client, prefix, name, lock, stages)
            shown = json.loads(client.get(f"{name}:run") or "{}")
            users, rows = shown.get("users", 0), shown.get("keys", 0)
            return Exported(run.run_date, users, rows, already=True)
        for other in _prefixes(client, prefix) - {str(current), name}:  # of an interrupted export: nobody has read it
            _unlink(client, prefix, other, lock)
        _warn_of_eviction(client)
        client.sadd(f"{prefix}:prefixes", name)
        try:
            with stages("load lists"):
                users = _load(client, _lists(run, name), lock)
            with stages("load similar_movies"):
                similar = _load(client, _similar(run, name), lock)
            facts = {
                c.RUN_DATE: str(run.run_date), c.MODEL_VERSION: run.record.model_version, "run_id": run.record.run_id,
                "users": users, "keys": users + similar,
            }  # fmt: skip
            client.set(f"{name}:run", json.dumps(facts))
            run.check_unchanged()
        except exceptions.OutOfMemoryError:
            with suppress(exceptions.RedisError):
                _unlink(client, prefix, name, lock)
            raise
        with stages("show it"):
            client.set(f"{prefix}:current", name)
        _remove_others(client, prefix, name, lock, stages)
        return Exported(run.run_date, users, users + similar, users + similar)


# -- what is loaded ----------------------------------------------------------------------------------------------------


def _lists(run: ServedRun, name: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield keys and values: a user's row of the table `lists`, as JSON."""
    for batch in run.batches(c.LISTS_TABLE):
        to_seconds = batch.column(c.VALID_UNTIL).cast(pa.timestamp("s", "UTC"), safe=False)
        until = pc.strftime(to_seconds, "%Y-%m-%dT%H:%M:%SZ")
        columns = {
            c.USER_ID: batch.column(c.USER_ID), c.RECOMMENDATIONS: batch.column(c.RECOMMENDATIONS),
            c.MODEL_VERSION: batch.column(c.MODEL_VERSION), c.VALID_UNTIL: until,
            c.RUN_DATE: pa.repeat(str(run.run_date), batch.num_rows),
        }  # fmt: skip
        rows = as_text.as_json(pa.StructArray.from_arrays([*columns.values()], [*columns]))
        yield _keys(f"{name}:user:", batch.column(c.USER_ID)), rows.to_pylist()


def _similar(run: ServedRun, name: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield keys and values: the rows of a movie in the table `similar_movies`, as a JSON list, by rank.

    The rows of a movie follow one another, and are few: those at the end of a batch wait for the next one.
    """
    rest = None
    for batch in run.batches(c.SIMILAR_TABLE):
        rows = batch if rest is None else pa.concat_batches([rest, batch])
        movie = rows.column(c.MOVIE_ID)
        starts = np.flatnonzero(np.r_[True, pc.not_equal(movie[1:], movie[:-1]).to_numpy(zero_copy_only=False)])
        rest = rows.slice(starts[-1])
        yield _similar_of(rows.slice(0, starts[-1]), starts, name)
    if rest is not None:
        yield _similar_of(rest, np.array([0, len(rest)]), name)


def _similar_of(rows: pa.RecordBatch, starts: np.ndarray, name: str) -> tuple[list[str], list[str]]:
    columns = (c.SIMILAR_MOVIE_ID, c.SCORE)
    entries = pa.StructArray.from_arrays([rows.column(column) for column in columns], [*columns])
    lists = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), entries)
    movies = rows.column(c.MOVIE_ID).take(pa.array(starts[:-1]))
    return _keys(f"{name}:similar:", movies), as_text.as_json(lists).to_pylist()


def _keys(start: str, ids: pa.Array) -> list[str]:
    return pc.binary_join_element_wise(start, ids.cast(pa.string()), "").to_pylist()


def _load(client: redis.Redis, rows: Iterator[tuple[list[str], list[str]]], lock: Lock) -> int:
    """Write keys and values; return how many."""
    count = 0
    for keys, values in rows:
        for start in range(0, len(keys), _AT_A_TIME):
            part = slice(start, start + _AT_A_TIME)
            client.mset(dict(zip(keys[part], values[part], strict=True)))
            lock.reacquire()
        count += len(keys)
    return count


# -- what is removed ---------------------------------------------------------------------------------------------------


def _remove_others(client: redis.Redis, prefix: str, current: str, lock: Lock, stages: Stages) -> None:
    """Remove all other prefixes, once those who have read an earlier name are done."""
    others = _prefixes(client, prefix) - {current}
    if others:
        with stages("remove the run before"):
            until = time.monotonic() + GRACE
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(left, _LOCK_SECONDS / 4))
                lock.reacquire()
            for other in others:
                _unlink(client, prefix, other, lock)


def _prefixes(client: redis.Redis, prefix: str) -> set[str]:
    return {str(name) for name in client.smembers(f"{prefix}:prefixes")}


def _unlink(client: redis.Redis, prefix: str, name: str, lock: Lock) -> None:
    cursor = 0
    while True:
        cursor, keys = client.scan(cursor, match=f"{name}:*", count=_AT_A_TIME)
        if keys:
            client.unlink(*keys)
        lock.reacquire()
        if not cursor:
            break
    client.srem(f"{prefix}:prefixes", name)


# -- connections and errors --------------------------------------------------------------------------------------------


@contextmanager
def _connected(address: str) -> Iterator[redis.Redis]:
    own = {} if "@" in address.partition("?")[0] else {"password": os.environ.get("REDISCLI_AUTH")}
    try:
        client = redis.Redis.from_url(
            address, socket_connect_timeout=_SECONDS_TO_CONNECT, socket_timeout=_SECONDS_TO_ANSWER,
            client_name="recmodel-export", decode_responses=True, **own,
        )  # fmt: skip
    except ValueError:  # repeats what it does not understand
        raise UsageRejected("the address is none that Redis understands; write it like redis://host:6379/0") from None
    with client:
        yield client


@contextmanager
def _locked(client: redis.Redis, prefix: str) -> Iterator[Lock]:
    """Hold the right to export under a prefix; that of an export that was killed is free after some seconds."""
    lock = client.lock(f"{prefix}:lock", timeout=_LOCK_SECONDS)
    if not lock.acquire(blocking=True, blocking_timeout=_PATIENCE):
        raise AnotherRun(f"another export under {prefix}: is under way; wait until it has ended")
    try:
        yield lock
    finally:
        with suppress(exceptions.RedisError):
            lock.release()


def _warn_of_eviction(client: redis.Redis) -> None:
    memory = client.info("memory")
    policy = str(memory.get("maxmemory_policy", ""))
    if memory.get("maxmemory") and policy.startswith("allkeys"):
        log.log(
            NOTICE, "Redis may remove lists when its memory is full (maxmemory-policy %s); noeviction says so", policy
        )


@contextmanager
def _sentences() -> Iterator[None]:
    """Let each failure of the server be a sentence with its remedy."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise UsageRejected(
            f"Redis refuses the account ({error}); correct the password in REDISCLI_AUTH, or in the variable that --to "
            "env: names, or let it use all commands of strings, sets and scripts"
        ) from None
    except exceptions.ReadOnlyError as error:
        raise UsageRejected(f"the server takes no changes ({error}); name the primary in --to") from None
    except exceptions.OutOfMemoryError as error:
        raise ScoringFailed(
            f"Redis' memory is full ({error}); what was loaded is removed and readers have what they had before: raise "
            "maxmemory, as two runs are there for a moment, and run the same command again"
        ) from error
    except exceptions.LockError as error:
        raise ScoringFailed(
            f"the export took too long between two steps ({error}); run the same command again"
        ) from error
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise ScoringFailed(
            f"Redis cannot be reached ({error}); readers have what they had before: run the same command again"
        ) from error
    except exceptions.RedisError as error:
        raise ScoringFailed(f"Redis has stopped the export ({error}); run the same command again") from error
