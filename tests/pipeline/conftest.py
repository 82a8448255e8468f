"""Inputs of several tests of the pipeline."""

import pytest
from support import databases
from support.inputs import REPEATS, make_ratings, write_movielens


@pytest.fixture
def with_repeats(tmp_path):
    """(data with repeated ratings, the same without): user 1 has rated movie 1 already, and so on; and users to ask."""
    once = [*make_ratings(), (1, 1, 4.0, 2_000_000), (2, 4, 1.0, 2_000_000), (3, 1, 4.0, 2_000_000)]
    of_pair = {row[:2]: row for row in once}  # the last of each
    (tmp_path / "users.csv").write_text("userId\n1\n2\n3\n4\n12345\n")
    once = sorted(of_pair.values())
    return write_movielens(tmp_path / "twice", [*once, *REPEATS]), write_movielens(tmp_path / "once", once)


@pytest.fixture(scope="session")
def postgresql():
    """The address of a PostgreSQL of this session's own."""
    if not (databases.program("initdb") and databases.program("postgres")):
        pytest.skip(databases.MISSING.format("PostgreSQL"))
    with databases.postgresql() as address:
        yield address


@pytest.fixture(scope="session")
def redis_server():
    """The address of a Redis of this session's own."""
    if not databases.program("redis-server"):
        pytest.skip(databases.MISSING.format("Redis"))
    with databases.redis() as address:
        yield address


@pytest.fixture
def passwords(monkeypatch):
    """Those of the servers, in the environment alone."""
    monkeypatch.setenv("PGPASSWORD", databases.PASSWORD)
    monkeypatch.setenv("REDISCLI_AUTH", databases.PASSWORD)
