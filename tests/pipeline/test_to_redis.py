"""Exports to a real Redis, held against what was published, with readers at work, kills and missing rights."""

import itertools
import json
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from support import databases, served
from support.databases import PASSWORD
from support.processes import here, said
from support.runs import DAY

from recmodel import schemas as c
from recmodel.errors import AnotherRun, ScoringFailed, UsageRejected
from recmodel.pipeline import export
from recmodel.progress import Stages
from recmodel.schemas import TEXT, Ids
from recmodel.tables.output import open_output

redis = pytest.importorskip("redis", reason="the package redis is not installed")
to_redis = pytest.importorskip("recmodel.pipeline.to_redis")
pytestmark = pytest.mark.usefixtures("passwords")
_numbers = itertools.count()


@pytest.fixture
def prefix():
    """What the keys of the test begin with."""
    return f"recmodel_{next(_numbers)}"


@pytest.fixture
def site(redis_server):
    with redis.Redis.from_url(redis_server, password=PASSWORD, decode_responses=True) as client:
        yield client


@pytest.fixture
def exported(tmp_path, redis_server, prefix, monkeypatch):
    """Exports what is published in tmp_path/output."""
    monkeypatch.setattr(to_redis, "GRACE", 0.1)

    def run(run_date=None, *, to=redis_server, changed_only=False) -> export.Exported:
        location, target = str(tmp_path / "output"), export.target(to)
        return export.export(location, run_date, target, Stages(), schema=prefix, changed_only=changed_only)

    return run


def as_json(entry: dict) -> dict:
    nan_is_null = {name: None if value != value else value for name, value in entry.items()}
    return {n: pytest.approx(v, rel=1e-6) if isinstance(v, float) else v for n, v in nan_is_null.items()}


@pytest.mark.parametrize("ids", [Ids(), Ids(TEXT, TEXT)], ids=["integers", "texts"])
def test_readers_find_what_is_published_in_two_steps(exported, site, prefix, tmp_path, ids):
    rows = served.publish(tmp_path / "output", range(1, 31), ids=ids)
    done = exported()
    current = site.get(f"{prefix}:current")
    for row in rows[c.LISTS_TABLE]:
        facts, entries = map(json.loads, site.mget(f"{current}:run", f"{current}:user:{row[c.USER_ID]}"))
        assert entries == [as_json(entry) for entry in row[c.RECOMMENDATIONS]]
        of_run = (c.RUN_DATE, c.MODEL_VERSION, c.VALID_UNTIL)
        assert [facts[name] for name in of_run] == [str(DAY), "v0", "2026-02-02T23:59:59Z"]
    movies = {row[c.MOVIE_ID] for row in rows[c.SIMILAR_TABLE]}
    for movie in movies:
        similar = sorted(
            (row for row in rows[c.SIMILAR_TABLE] if row[c.MOVIE_ID] == movie), key=lambda row: row[c.RANK]
        )
        assert json.loads(site.get(f"{current}:similar:{movie}")) == [
            {c.SIMILAR_MOVIE_ID: row[c.SIMILAR_MOVIE_ID], c.SCORE: pytest.approx(row[c.SCORE])} for row in similar
        ]
    assert (done.users, done.rows, done.changed) == (30, 31 + len(movies), 31 + len(movies))


def test_what_a_site_shows_leaves_out_movies_that_were_delisted_since(exported, site, prefix, tmp_path):
    """By the read that conf/README.md has: a list that was kept from an earlier run, and the movies of now."""
    served.publish(tmp_path / "output", [42])
    exported()
    first = site.get(f"{prefix}:current")
    kept = [entry[c.MOVIE_ID] for entry in json.loads(site.get(f"{first}:user:42"))]
    assert kept == [0, 1, 2]
    served.publish(tmp_path / "output", [42], 1, DAY + timedelta(1), delisted=[1])
    exported()
    current = site.get(f"{prefix}:current")
    assert site.smismember(f"{current}:movies", kept) == [1, 0, 1]
    assert site.sismember(f"{current}:movies", 3) == 0  # rules do not allow it
    site.srem(f"{current}:movies", 2)  # by the site, at noon
    assert site.smismember(f"{current}:movies", kept) == [1, 0, 0]


@pytest.mark.parametrize("at_once", [to_redis.AT_ONCE, 3], ids=["few", "many"])
def test_only_what_has_changed_is_written(exported, site, prefix, tmp_path, caplog, monkeypatch, at_once):
    """Where it is little, readers keep the prefix."""
    monkeypatch.setattr(to_redis, "AT_ONCE", at_once)
    caplog.set_level("INFO", "recmodel")
    served.publish(tmp_path / "output", range(1, 21))
    assert exported(changed_only=True).changed == 20 + 1 + 4
    assert "has nothing yet that keys could be compared with: all of them are loaded" in caplog.text
    current = site.get(f"{prefix}:current")
    rows = served.publish(tmp_path / "output", range(5, 26), 1, DAY + timedelta(1), changed=[7, 8], delisted=[1])
    done = exported(changed_only=True)
    assert (done.users, done.changed, done.removed) == (21, 2 + 5 + 1, 4)
    assert (site.get(f"{prefix}:current") == current) == (at_once > 3)
    current = site.get(f"{prefix}:current")
    assert site.smembers(f"{prefix}:prefixes") == {current}
    assert {key: json.loads(site.get(key)) for key in site.scan_iter(f"{prefix}:*:user:*")} == {
        f"{current}:user:{row[c.USER_ID]}": [as_json(entry) for entry in row[c.RECOMMENDATIONS]]
        for row in rows[c.LISTS_TABLE]
    }
    assert site.smembers(f"{current}:movies") == {*"02456"}
    assert json.loads(site.get(f"{current}:run"))[c.MODEL_VERSION] == "v1"
    assert exported(changed_only=True).already
    assert not exported(DAY).already  # the run before: its keys have become those of the second one
    assert site.get(f"{prefix}:current") != current
    assert {key.rpartition(":")[2] for key in site.scan_iter(f"{prefix}:*:user:*")} == {*map(str, range(1, 21))}


def test_a_second_call_does_nothing_and_the_run_before_goes(
    exported, site, prefix, tmp_path, redis_server, monkeypatch
):
    for label in range(2):
        served.publish(tmp_path / "output", [1, 2, 3], label, DAY + timedelta(label))
    first = exported(DAY)
    assert (first.already, exported(DAY).already) == (False, True)
    before = site.get(f"{prefix}:current")
    exported()
    current = site.get(f"{prefix}:current")
    assert json.loads(site.get(f"{current}:run"))[c.RUN_DATE] == str(DAY + timedelta(1))
    assert not [*site.scan_iter(f"{before}:*")]
    assert site.smembers(f"{prefix}:prefixes") == {current}
    monkeypatch.setenv("SITE_CACHE", redis_server.replace("//", f"//default:{PASSWORD}@"))
    monkeypatch.delenv("REDISCLI_AUTH")
    again = here("export", "--to", "env:SITE_CACHE", "--output", tmp_path / "output", "--schema", prefix)
    assert again.returncode == 0, said(again)
    assert f"Redis (env:SITE_CACHE) has the run of {DAY + timedelta(1)} already: nothing was done" in said(again)


@pytest.mark.parametrize("changed_only", [True, False])
def test_users_who_were_forgotten_are_gone_after_the_next_export(exported, site, prefix, tmp_path, changed_only):
    served.publish(tmp_path / "output", [1, 2, 3])
    exported()
    served.forget(open_output(tmp_path / "output"), 2)
    assert not exported(changed_only=changed_only).already
    assert {key.rpartition(":")[2] for key in site.scan_iter(f"{prefix}:*:user:*")} == {"1", "3"}


def test_readers_in_a_loop_never_miss_a_list_nor_see_a_mixture(exported, redis_server, prefix, tmp_path):
    for label in range(2):
        served.publish(tmp_path / "output", range(1, 301), label, DAY + timedelta(label), changed=range(1, 301))
    exported(DAY)
    stop, wrong, seen = threading.Event(), [], set()

    def read() -> None:
        with redis.Redis.from_url(redis_server, password=PASSWORD, decode_responses=True) as client:
            while not stop.is_set():
                current = client.get(f"{prefix}:current")
                values = client.mget(f"{current}:{key}" for key in ("run", "user:1", "user:300"))
                labels = {value and (json.loads(value)[0][c.SCORE] > 1) for value in values[1:]}
                label = values[0] and json.loads(values[0])[c.MODEL_VERSION]
                if labels != {label == "v1"} or label is None:
                    wrong.append(values)
                    return
                seen.add(label)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(10):
        exported(DAY + timedelta((turn + 1) % 2), changed_only=turn % 3 > 0)
    stop.set()
    for reader in readers:
        reader.join()
    assert (wrong, seen) == ([], {"v0", "v1"})


STUCK = """
import sys
from recmodel.pipeline import export
from recmodel.progress import Stages
from recmodel.tables.served import ServedRun
batches = ServedRun.batches
def stuck(self, table):
    yield from batches(self, table)
    print("there", flush=True)
    sys.stdin.read()
ServedRun.batches = stuck
output, to, schema, *flags = sys.argv[1:]
export.export(output, None, export.target(to), Stages(), schema=schema, changed_only=bool(flags))
"""


@pytest.mark.parametrize(("next_run", "flags"), [("the same", []), ("another", []), ("another", ["--changed-only"])])
def test_a_load_that_is_killed_harms_nobody_and_leaves_nothing(
    exported, site, prefix, tmp_path, redis_server, monkeypatch, next_run, flags
):
    served.publish(tmp_path / "output", [1, 2])
    exported()
    before = site.get(f"{prefix}:current")
    served.publish(tmp_path / "output", [3, 4, 5], 1, DAY + timedelta(1))
    words = [sys.executable, "-c", STUCK, tmp_path / "output", redis_server, prefix, *flags]
    process = subprocess.Popen([*map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    with monkeypatch.context() as patch:
        patch.setattr(to_redis, "_PATIENCE", 0.1)
        with pytest.raises(AnotherRun, match="another export under .* is under way"):
            exported()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    site.pexpire(f"{prefix}:lock", 300)  # what is left of ten seconds
    assert site.get(f"{prefix}:current") == before
    if next_run == "another":
        served.publish(tmp_path / "output", [6], 2, DAY + timedelta(2))
    done = exported()
    assert done.users == (3 if next_run == "the same" else 1)
    current = site.get(f"{prefix}:current")
    assert {*site.scan_iter(f"{prefix}:*:user:*")} == {
        f"{current}:user:{n}" for n in ([3, 4, 5] if done.users == 3 else [6])
    }
    assert site.smembers(f"{prefix}:prefixes") == {current}


def test_what_cannot_be_done_is_a_sentence_with_its_exit_code(
    exported, site, prefix, tmp_path, redis_server, monkeypatch
):
    served.publish(tmp_path / "output", [1, 2])
    site.acl_setuser(
        "reader", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], commands=["+get", "+client", "+info"]
    )
    for address, kind, sentence in (
        (redis_server.replace("//", "//reader@"), UsageRejected, "refuses the account .*"),
        ("redis://127.0.0.1:1/0", ScoringFailed, "Redis cannot be reached .*Connection refused"),
        (redis_server + "?db=x", UsageRejected, "none that Redis understands"),
    ):
        with pytest.raises(kind, match=sentence):
            exported(to=address)
    monkeypatch.setenv("REDISCLI_AUTH", "wrong")
    with pytest.raises(UsageRejected, match="refuses the account .*invalid username-password pair"):
        exported()
    assert site.get(f"{prefix}:current") is None


def test_a_full_memory_is_said_and_gets_back_what_was_loaded(exported, tmp_path, prefix, caplog):
    caplog.set_level("INFO", "recmodel")
    with databases.redis() as address:
        served.publish(tmp_path / "output", [1, 2])
        exported(to=address)
        with redis.Redis.from_url(address, password=PASSWORD, decode_responses=True) as site:
            before = site.get(f"{prefix}:current")
            site.config_set("maxmemory", site.info("memory")["used_memory"] + 300_000)
            served.publish(tmp_path / "output", range(9000), 1, DAY + timedelta(1))
            with pytest.raises(ScoringFailed, match="Redis' memory is full .*raise maxmemory"):
                exported(to=address)
            assert {*site.scan_iter(f"{prefix}:*:user:*")} == {f"{before}:user:1", f"{before}:user:2"}
            assert site.get(f"{prefix}:current") == before
            site.config_set("maxmemory", "1gb")
            site.config_set("maxmemory-policy", "allkeys-lru")
            assert exported(to=address).users == 9000
            assert "Redis may remove lists when its memory is full (maxmemory-policy allkeys-lru)" in caplog.text
