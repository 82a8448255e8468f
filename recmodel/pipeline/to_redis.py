"""To Redis: a run's lists, movies and similar movies under a prefix of their own, which one key then names.

PREFIX:current         the prefix of the run that readers use, such as PREFIX:17
PREFIX:17:run          what is the same for the whole run, as JSON: its date, until when its lists are valid, …
PREFIX:17:user:42      the list of a user, as JSON
PREFIX:17:similar:1196 what is similar to a movie, as JSON
PREFIX:17:movies       a set of the movies that are listed and may be recommended
PREFIX:number, PREFIX:prefixes, PREFIX:lock     the last number, a set of the prefixes that have keys, and who exports

Readers take two steps: GET PREFIX:current, then MGET <prefix>:run <prefix>:user:42. The run before is removed some
seconds later, so who has taken the first step has time for the second. With `changed_only` only values that differ are
loaded. If they are few, one transaction renames them to those that readers know; otherwise the server copies the others
to them, and the prefix changes as ever.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

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
AT_ONCE = 20_000  # keys that are changed in one transaction, for which others wait: some 0.1 s
_LOCK_SECONDS = 10.0  # after which the lock of an export that was killed is free
_PATIENCE = _LOCK_SECONDS + 1
_AT_A_TIME = 2000  # keys in a pipeline
_SECONDS_TO_CONNECT, _SECONDS_TO_ANSWER = 10, 60


def export(run: ServedRun, address: str, prefix: str, stages: Stages, *, changed_only: bool = False) -> Exported:
    """Load a run and show it to readers.

    Args:
        address: redis:// or rediss://; without a password in it, REDISCLI_AUTH is taken.
        prefix: what all keys begin with.
        changed_only: write and delete the keys that differ from those that are shown, instead of loading all.

    Raises:
        AnotherRun: another export under the prefix is under way.
        UsageRejected: the server refuses the account, or it is a replica.
        ScoringFailed: anything else; readers have what they had before.
    """
    with _sentences(), _connected(address) as client, _locked(client, prefix) as lock:
        current = str(client.get(f"{prefix}:current") or "")
        shown = json.loads(client.get(f"{current}:run") or "{}")
        if shown.get("key") == run.key:
            _remove_others(client, prefix, current, lock, stages)
            return Exported(run.run_date, shown["users"], shown["keys"], already=True)
        for other in _prefixes(client, prefix) - {current}:  # of an interrupted export: nobody has read it
            _unlink(client, prefix, other, lock)
        _warn_of_eviction(client)
        if changed_only and not shown:
            log.log(NOTICE, "%s: has nothing yet that keys could be compared with: all of them are loaded", prefix)
        name = f"{prefix}:{client.incr(f'{prefix}:number')}"
        client.sadd(f"{prefix}:prefixes", name)
        load = _Load(client, lock, name, current if changed_only and shown else "")
        try:
            with stages("load lists"):
                users = load.values(_lists(run))
            with stages("load movies"):
                load.members("movies", _listed(run))
            with stages("load similar_movies"):
                load.values(_similar(run))
            keys, changed = load.count, load.changed
            load.values(iter([(["run"], [_facts(run, users, keys)])]))
            gone = load.gone()
            in_place = bool(load.current) and len(load.loaded) + len(gone) <= AT_ONCE
            if not in_place:
                load.copy_the_rest()
            run.check_unchanged()
        except exceptions.OutOfMemoryError:
            with suppress(exceptions.RedisError):
                _unlink(client, prefix, name, lock)
            raise
        with stages("show it"):
            if in_place:
                load.rename(gone)
                client.srem(f"{prefix}:prefixes", name)
            else:
                client.set(f"{prefix}:current", name)
        _remove_others(client, prefix, current if in_place else name, lock, stages)
        return Exported(run.run_date, users, keys, changed, len(gone))


@dataclass
class _Load:
    """Keys that are loaded under a prefix; their names here are without it."""

    client: redis.Redis
    lock: Lock
    name: str  # the prefix
    current: str  # that which readers use: what is equal there is not loaded; empty: all is loaded
    count: int = 0  # keys of the run
    changed: int = 0  # of these, those that are loaded
    keys: set[str] = field(default_factory=set)  # of the run, and
    loaded: list[str] = field(default_factory=list)  # those that are loaded; both only where `current` is to be changed

    def values(self, rows: Iterator[tuple[list[str], list[str]]]) -> int:
        """Load keys and values; return how many there are."""
        count = 0
        for keys, values in rows:
            for start in range(0, len(keys), _AT_A_TIME):
                pairs = dict(zip(keys[start : start + _AT_A_TIME], values[start : start + _AT_A_TIME], strict=True))
                self.count += len(pairs)
                if self.current:
                    self.keys.update(pairs)
                    there = self.client.mget([f"{self.current}:{key}" for key in pairs])
                    pairs = {key: pairs[key] for key, old in zip([*pairs], there, strict=True) if pairs[key] != old}
                if pairs:
                    self.client.mset({f"{self.name}:{key}": value for key, value in pairs.items()})
                    self._note(pairs)
                self.lock.reacquire()
            count += len(keys)
        return count

    def members(self, key: str, members: set[str]) -> None:
        """Load a set."""
        self.keys.add(key)
        self.count += 1
        if members and not (self.current and self.client.smembers(f"{self.current}:{key}") == members):
            self.client.sadd(f"{self.name}:{key}", *members)
            self._note([key])

    def _note(self, loaded: Collection[str]) -> None:
        self.changed += len(loaded)
        if self.current:
            self.loaded += loaded

    def gone(self) -> list[str]:
        """Return the keys that readers have and the run has no more."""
        there = self.client.scan_iter(f"{self.current}:*", count=_AT_A_TIME) if self.current else ()
        gone = [key for name in there if (key := name.removeprefix(f"{self.current}:")) not in self.keys]
        self.lock.reacquire()
        return gone

    def copy_the_rest(self) -> None:
        """Copy what was not loaded, as it is the same, from the prefix that readers use."""
        rest = [*self.keys.difference(self.loaded)] if self.current else []
        for start in range(0, len(rest), _AT_A_TIME):
            with self.client.pipeline(transaction=False) as pipeline:
                for key in rest[start : start + _AT_A_TIME]:
                    pipeline.copy(f"{self.current}:{key}", f"{self.name}:{key}")
                pipeline.execute()
            self.lock.reacquire()

    def rename(self, gone: Collection[str]) -> None:
        """Let readers have what is loaded, and no more what is gone, all at once."""
        with self.client.pipeline(transaction=True) as at_once:
            for key in self.loaded:
                at_once.rename(f"{self.name}:{key}", f"{self.current}:{key}")
            for key in gone:
                at_once.unlink(f"{self.current}:{key}")
            at_once.execute()


# -- what is loaded ----------------------------------------------------------------------------------------------------


def _facts(run: ServedRun, users: int, keys: int) -> str:
    """Return what is the same in all lists of a run, and how much there is, as JSON."""
    until = run.valid_until()
    facts = {
        c.RUN_DATE: str(run.run_date), c.MODEL_VERSION: run.record.model_version,
        c.VALID_UNTIL: until and f"{until:%Y-%m-%dT%H:%M:%SZ}", "key": run.key, "users": users, "keys": keys,
    }  # fmt: skip
    return json.dumps(facts)


def _lists(run: ServedRun) -> Iterator[tuple[list[str], list[str]]]:
    """Yield keys and values: the list of a user, as JSON."""
    for batch in run.batches(c.LISTS_TABLE):
        lists = as_text.as_json(batch.column(c.RECOMMENDATIONS))
        yield _keys("user:", batch.column(c.USER_ID)), lists.to_pylist()


def _listed(run: ServedRun) -> set[str]:
    """Return the movies that are in the run's catalogue and may be recommended."""
    listed: set[str] = set()
    for batch in run.batches(c.MOVIES_TABLE):
        there = pc.and_(pc.not_equal(batch.column(c.STATUS), c.STATUS_DELISTED), batch.column(c.ALLOWED))
        listed.update(batch.column(c.MOVIE_ID).filter(there).cast(pa.string()).to_pylist())
    return listed


def _similar(run: ServedRun) -> Iterator[tuple[list[str], list[str]]]:
    """Yield keys and values: the rows of a movie in the table `similar_movies`, as a JSON list, by rank.

    The rows of a movie follow one another, and are few: those at the end of a batch wait for the next one.
    """
    rest = None
    for batch in run.batches(c.SIMILAR_TABLE):
        rows = batch if rest is None else pa.concat_batches([rest, batch])
        movie = rows.column(c.MOVIE_ID)
        starts = np.flatnonzero(np.r_[True, pc.not_equal(movie[1:], movie[:-1]).to_numpy(zero_copy_only=False)])
        rest = rows.slice(starts[-1])
        yield _similar_of(rows.slice(0, starts[-1]), starts)
    if rest is not None:
        yield _similar_of(rest, np.array([0, len(rest)]))


def _similar_of(rows: pa.RecordBatch, starts: np.ndarray) -> tuple[list[str], list[str]]:
    columns = (c.SIMILAR_MOVIE_ID, c.SCORE)
    entries = pa.StructArray.from_arrays([rows.column(column) for column in columns], [*columns])
    lists = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), entries)
    movies = rows.column(c.MOVIE_ID).take(pa.array(starts[:-1]))
    return _keys("similar:", movies), as_text.as_json(lists).to_pylist()


def _keys(start: str, ids: pa.Array) -> list[str]:
    return pc.binary_join_element_wise(start, ids.cast(pa.string()), "").to_pylist()


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
            "env: names, or let it use all commands of strings, sets, scripts and transactions"
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
