"""Whose list is where: in the newest full run, in another, or in partial runs."""

from datetime import timedelta

import pyarrow as pa
import pytest
from support.runs import DAY, publish, record, stage, write_part

from recmodel import schemas as c
from recmodel.errors import UsageRejected
from recmodel.tables import lookup
from recmodel.tables.output import open_output


@pytest.fixture
def output(tmp_path):
    """A full run of users 1 to 4, and the day after a partial one of users 1 and 2."""
    publish(open_output(tmp_path), "full", DAY, parts=2)
    return str(tmp_path)


def publish_partial(output: str, label: str, day, parts: int = 1) -> None:
    run = stage(open_output(output, partial=True), label, day, parts=parts)
    run.publish(record(day, all_users=False), 90)


def found(output, user_id, *arguments, **keywords):
    user_list = lookup.find(output, str(user_id), *arguments, **keywords)
    return user_list.rows[0]["label"], user_list.partial, user_list.run.run_date, user_list.newer_partial


def test_full_runs_come_first_and_partial_ones_are_found_and_named(output):
    assert found(output, 1) == ("full", False, DAY, None)
    after, later = DAY + timedelta(1), DAY + timedelta(2)
    publish_partial(output, "six", after, parts=3)
    publish_partial(output, "two", later)
    assert found(output, 1) == ("full", False, DAY, later)
    assert found(output, 4) == ("full", False, DAY, after)
    assert found(output, 6) == ("six", True, after, None)
    assert found(output, 1, only_partial=True) == ("two", True, later, None)
    assert found(output, 1, after) == ("six", True, after, None)  # no full run has that date


def test_who_is_nowhere_is_told_what_there_is(output):
    with pytest.raises(UsageRejected, match="user 9 has no .* run of 2026-01-31; its users go from 1 to 4"):
        lookup.find(output, "9")
    with pytest.raises(UsageRejected, match="there is no run of 2026-02-09 .* the nearest is that of 2026-01-31"):
        lookup.find(output, "1", DAY + timedelta(9))
    with pytest.raises(UsageRejected, match="partial holds no published run"):
        lookup.find(output, "1", only_partial=True)
    publish_partial(output, "two", DAY)
    with pytest.raises(UsageRejected, match="user 9 has no recommendations in any partial run"):
        lookup.find(output, "9", only_partial=True)
    with pytest.raises(UsageRejected, match="there is no run of 2026-02-09 .* the nearest is that of 2026-01-31"):
        lookup.find(output, "1", DAY + timedelta(9))


def test_similar_movies_are_found_by_id_or_title(tmp_path):
    run = open_output(tmp_path).stage(DAY, "key")
    movies = [
        {c.MOVIE_ID: 1, c.TITLE: "Heat (1995)"},
        {c.MOVIE_ID: 2, c.TITLE: "Emma (1996)"},
        {c.MOVIE_ID: 3, c.TITLE: "Up"},
    ]
    similar = [
        {c.MOVIE_ID: movie, c.RANK: rank, c.SIMILAR_MOVIE_ID: other, c.SCORE: 0.5}
        for movie, rank, other in ((1, 2, 3), (1, 1, 2), (2, 1, 1))
    ]
    for table, rows in ((c.MOVIES_TABLE, movies), (c.SIMILAR_TABLE, similar)):
        write_part(run, table, 0, pa.Table.from_pylist(rows, c.TABLES[table]))
    run.publish(record(), 90)
    for movie in ("1", "Heat (1995)"):
        run_of, title, rows = lookup.similar_movies(str(tmp_path), movie)
        assert (run_of.run_date, title) == (DAY, "Heat (1995)")
        assert [(row[c.RANK], row[c.SIMILAR_MOVIE_ID], row[c.TITLE]) for row in rows] == [
            (1, 2, "Emma (1996)"),
            (2, 3, "Up"),
        ]
    for movie, sentence in (("3", "nothing similar to Up"), ("9", "the catalogue has no movie '9'")):
        with pytest.raises(UsageRejected, match=sentence):
            lookup.similar_movies(str(tmp_path), movie)
    open_output(tmp_path / "older").stage(DAY, "key").publish(record(), 90)
    with pytest.raises(UsageRejected, match="the run of 2026-01-31 has no table similar_movies"):
        lookup.similar_movies(str(tmp_path / "older"), "1")
