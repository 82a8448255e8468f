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

    def run(run_date=None, *, location=tmp_path / "output", to=redis_server) -> export.Exported:
        return export.export(str(location), run_date, export.target(to), Stages(), schema=prefix)

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
        assert json.loads(site.get(f"{current}:user:{row[c.USER_ID]}")) == {
            c.USER_ID: row[c.USER_ID], c.RECOMMENDATIONS: [as_json(entry) for entry in row[c.RECOMMENDATIONS]],
            c.MODEL_VERSION: "v0", c.VALID_UNTIL: "2026-02-02T23:59:59Z", c.RUN_DATE: str(DAY),
        }  # fmt: skip
    movies = {row[c.MOVIE_ID] for row in rows[c.SIMILAR_TABLE]}
    for movie in movies:
        similar = sorted(
            (row for row in rows[c.SIMILAR_TABLE] if row[c.MOVIE_ID] == movie), key=lambda row: row[c.RANK]
        )
        assert json.loads(site.get(f"{current}:similar:{movie}")) == [
            {c.SIMILAR_MOVIE_ID: row[c.SIMILAR_MOVIE_ID], c.SCORE: pytest.approx(row[c.SCORE])} for row in similar
        ]
    assert (done.users, done.rows) == (30, 30 + len(movies))
    assert json.loads(site.get(f"{current}:run"))["users"] == 30


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
    assert current.startswith(f"{prefix}:{DAY + timedelta(1)}-")
    assert not [*site.scan_iter(f"{before}:*")]
    assert site.smembers(f"{prefix}:prefixes") == {current}
    monkeypatch.setenv("SITE_CACHE", redis_server.replace("//", f"//default:{PASSWORD}@"))
    monkeypatch.delenv("REDISCLI_AUTH")
    again = here("export", "--to", "env:SITE_CACHE", "--output", tmp_path / "output", "--schema", prefix)
    assert again.returncode == 0, said(again)
    assert f"Redis (env:SITE_CACHE) has the run of {DAY + timedelta(1)} already: nothing was done" in said(again)


def test_users_who_were_forgotten_are_gone_after_the_next_export(exported, site, prefix, tmp_path):
    served.publish(tmp_path / "output", [1, 2, 3])
    exported()
    served.forget(open_output(tmp_path / "output"), 2)
    assert not exported().already
    assert {key.rpartition(":")[2] for key in site.scan_iter(f"{prefix}:*:user:*")} == {"1", "3"}


def test_readers_in_a_loop_never_miss_a_list(exported, redis_server, prefix, tmp_path):
    for label in range(2):
        served.publish(tmp_path / "output", range(1, 301), label, DAY + timedelta(label))
    exported(DAY)
    stop, wrong, seen = threading.Event(), [], set()

    def read(user: int) -> None:
        with redis.Redis.from_url(redis_server, password=PASSWORD, decode_responses=True) as client:
            while not stop.is_set():
                value = client.get(f"{client.get(f'{prefix}:current')}:user:{user}")
                if value is None or json.loads(value)[c.USER_ID] != user:
                    wrong.append(value)
                    return
                seen.add(json.loads(value)[c.MODEL_VERSION])

    readers = [threading.Thread(target=read, args=[user]) for user in (1, 300)]
    for reader in readers:
        reader.start()
    for turn in range(8):
        exported(DAY + timedelta((turn + 1) % 2))
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
export.export(sys.argv[1], None, export.target(sys.argv[2]), Stages(), schema=sys.argv[3])
"""


@pytest.mark.parametrize("next_run", ["the same", "another"])
def test_a_load_that_is_killed_harms_nobody_and_leaves_nothing(
    exported, site, prefix, tmp_path, redis_server, monkeypatch, next_run
):
    served.publish(tmp_path / "output", [1, 2])
    exported()
    before = site.get(f"{prefix}:current")
    served.publish(tmp_path / "output", [3, 4, 5], 1, DAY + timedelta(1))
    words = [sys.executable, "-c", STUCK, tmp_path / "output", redis_server, prefix]
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
