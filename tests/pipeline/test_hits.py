"""Runs held against the ratings that came after them: a simulated month, next to plain Python on all of it."""

import math
import random
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta, timezone
from statistics import fmean

import numpy as np
import pyarrow as pa
import pytest
from support.inputs import table
from support.runs import record, write_part

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import staged
from recmodel.pipeline import hits
from recmodel.tables.output import open_output

MOVIES = [10 * movie for movie in range(1, 41)]
CATALOGUE = pa.table([MOVIES, *[pa.nulls(40)] * 4], c.CATALOGUE.names).cast(c.CATALOGUE)
FIRST = date(2026, 3, 1)
DENIED = {20, 30}


def noon(night: int) -> int:
    return int(datetime(2026, 3, 1, 12, tzinfo=timezone.utc).timestamp()) + night * 86_400


def popular_first(world: random.Random) -> int:
    return MOVIES[min(39, int(world.expovariate(0.1)))]


def simulate(seed: int = 1) -> list[list[tuple]]:
    """(user, movie, rating, time) by night: who comes back rates a few movies, popular ones more, some again."""
    world = random.Random(seed)
    nights = [
        [(user, movie, 3.0, noon(0) - user) for user in range(1, 60) for movie in world.sample(MOVIES, 1 + user % 24)]
    ]
    for night in range(1, 30):
        back = world.sample(range(1, 70), 12) if night not in (7, 8) else []  # nobody comes back for two nights
        nights.append([
            (user, popular_first(world), world.randint(1, 10) / 2, noon(night) - world.randint(0, 80_000))
            for user in back
            for _ in range(world.randint(1, 6))
        ])  # fmt: skip
    return nights


def lists_of(night: int, rated: list[tuple]) -> list[dict]:
    """Some list for each user who has rated by then: what they have not, in an order of the night's own."""
    world, seen = random.Random(night), defaultdict(set)
    for user, movie, *_ in rated:
        seen[user].add(movie)
    rows = []
    for user in sorted(seen):
        left = [movie for movie in MOVIES if movie not in seen[user] | DENIED]
        for rank, movie in enumerate(world.sample(left, min(12, len(left))), start=1):
            source = "popularity" if len(seen[user]) == 1 else "model"
            rows.append({c.USER_ID: user, c.RANK: rank, c.MOVIE_ID: movie, c.SOURCE: source})
    return rows


def expected_of(lists: list[dict], before: list[tuple], new: list[tuple]) -> dict[tuple, tuple]:
    """By source and segment: users, ratings, hits, liked hits, recall, NDCG; and the same of what was popular."""
    known, ratings, count = defaultdict(set), Counter(), Counter()
    for user, movie, *_ in before:
        known[user].add(movie)
        ratings[user] += 1
        count[movie] += 1
    since = defaultdict(dict)
    for user, movie, stars, _ in sorted(new, key=lambda row: (row[3], row[2])):
        if movie not in known[user]:
            since[user][movie] = stars
    by_user, source = defaultdict(list), {}
    for row in lists:
        by_user[row[c.USER_ID]].append(row[c.MOVIE_ID])
        source[row[c.USER_ID]] = row[c.SOURCE]
    popular = sorted({*MOVIES} - DENIED, key=lambda movie: (-count[movie], movie))
    groups = defaultdict(list)
    for user, relevant in since.items():
        if user not in by_user:
            continue
        of_user = [len(relevant)]
        for ranked in (by_user[user][:10], [movie for movie in popular if movie not in known[user]][:10]):
            found = [rank for rank, movie in enumerate(ranked, start=1) if movie in relevant]
            liked = sum(relevant[ranked[rank - 1]] >= 4 for rank in found)
            ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(10, len(relevant)) + 1))
            of_user += [len(found), liked, len(found) / len(relevant), sum(1 / math.log2(r + 1) for r in found) / ideal]
        segment = next(name for name, most in (("1-4", 4), ("5-19", 19), ("20-99", 99)) if ratings[user] <= most)
        groups[source[user], segment].append(of_user)
    return {
        group: (len(rows), *((sum if of in (0, 1, 2, 5, 6) else fmean)(row[of] for row in rows) for of in range(9)))
        for group, rows in groups.items()
    }


MEASURES = (
    "users_measured", c.RATINGS_COUNT, "hits", "liked_hits", "recall_10", "ndcg_10",
    "popular_hits", "popular_liked_hits", "popular_recall_10", "popular_ndcg_10",
)  # fmt: skip


def publish_night(output, folder, night: int, rated: list[tuple]):
    """What a night does of this: it stages all ratings, measures, and publishes its lists with the results."""
    day = FIRST + timedelta(night)
    location = str(folder / f"night-{night}")
    with storage.create(f"{location}/part-0.parquet") as sink:
        staged.write(table(rated).to_batches(), sink, np.array(MOVIES))
    found, of_run = hits.measure(output, day, location, CATALOGUE, 3.875)
    count = Counter(movie for _, movie, *_ in rated)
    run = output.stage(day, "key")
    rows = {
        c.RECOMMENDATIONS_TABLE: lists_of(night, rated),
        c.USERS_TABLE: [
            {c.USER_ID: user, c.RATINGS_COUNT: n} for user, n in sorted(Counter(row[0] for row in rated).items())
        ],
        c.MOVIES_TABLE: [
            {c.MOVIE_ID: movie, c.RATINGS_COUNT: count[movie], c.ALLOWED: movie not in DENIED} for movie in MOVIES
        ],
    }
    for name, of_table in rows.items():
        write_part(run, name, 0, pa.Table.from_pylist(of_table, c.TABLES[name]))
    write_part(run, c.HITS_TABLE, 0, found)
    newest = datetime.fromtimestamp(max(row[3] for row in rated), timezone.utc)
    run.publish(record(day, model_version=f"v{night // 7}", newest_rating=newest), 90)
    return found, of_run


def rows_of(found: pa.Table) -> dict[tuple, tuple]:
    return {
        (row[c.SCORED_ON], row[c.MODEL_VERSION], row[c.SOURCE], row["segment"]): tuple(row[name] for name in MEASURES)
        for row in found.to_pylist()
    }


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """(results of the last night, the right ones, those of each night). Two nights of the month have no run."""
    folder = tmp_path_factory.mktemp("month")
    output, rated, waiting, last, right, of_nights = open_output(folder / "output"), [], [], None, {}, {}
    for night, new in enumerate(simulate()):
        waiting = waiting + new
        if night in (15, 16):
            continue
        if last is not None:
            for group, row in expected_of(lists_of(last, rated), rated, waiting).items():
                right[(FIRST + timedelta(last), f"v{last // 7}", *group)] = row
        rated, waiting = rated + waiting, []
        found, of_nights[night] = publish_night(output, folder, night, rated)
        last = night
    return found, right, of_nights, output


def test_every_run_of_a_month_is_measured_by_what_came_until_the_next(month):
    found, right, *_ = month
    mine = rows_of(found)
    assert mine.keys() == right.keys()
    assert {key[2:] for key in mine} >= {("model", "1-4"), ("model", "5-19"), ("popularity", "1-4")}
    for key, row in right.items():
        assert mine[key] == pytest.approx(row, rel=1e-9), key
    assert 0 < sum(row[2] for row in mine.values()) < sum(row[1] for row in mine.values())
    assert {row["since"] < row["until"] for row in found.to_pylist()} == {True}


def test_a_night_says_how_the_run_before_did(month):
    _, right, of_nights, _ = month
    assert of_nights[0] is None
    assert of_nights[7] is of_nights[8] is None  # nobody came back
    assert of_nights[17].run_date == FIRST + timedelta(14)
    for night, of_run in of_nights.items():
        if of_run:
            rows = [row for (day, *_), row in right.items() if day == of_run.run_date]
            assert (of_run.users, of_run.hits) == (sum(row[0] for row in rows), sum(row[2] for row in rows)), night
            assert of_run.ndcg_10 == pytest.approx(sum(row[0] * row[5] for row in rows) / of_run.users)
            assert of_run.popular_ndcg_10 == pytest.approx(sum(row[0] * row[9] for row in rows) / of_run.users)


def test_a_night_that_is_repeated_measures_the_same(month, tmp_path):
    found, _, _, output = month
    rated = [row for night in simulate() for row in night]
    again, _ = publish_night(output, tmp_path, 29, rated)
    assert rows_of(again) == rows_of(found)


def test_a_run_that_cannot_be_measured_is_none(tmp_path):
    rated = [(1, 10, 3.0, 5)]
    output = open_output(tmp_path / "o")
    publish_night(output, tmp_path, 0, rated)
    run = output.stage(FIRST + timedelta(1), "key")
    run.publish(record(FIRST + timedelta(1)), 90)  # of an older version
    found, of_run = publish_night(output, tmp_path, 2, [*rated, (1, 20, 3.0, 9)])
    assert (found.num_rows, of_run) == (0, None)
