"""Replayed nights of a simulated month, next to plain Python on the same ratings, and to the night itself."""

import json
import math
import os
import random
import shutil
import sys
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import yaml
from support.inputs import write_movielens
from support.processes import ROOT, here, said

from recmodel import schemas as c
from recmodel import settings
from recmodel.jobs import backtest as job
from recmodel.pipeline import backtest, kept_nights
from recmodel.tables.output import open_output

MOVIES = [10 * movie for movie in range(1, 25)]  # the last one is never rated
MOVIES_CSV = "movieId,title,genres\n" + "".join(f"{movie},M{movie} (1999),Drama\n" for movie in MOVIES)
NIGHTS = [date(2025, 3, day) for day in (1, 8, 15, 22)]
FLAGS = ("2025-03-01..2025-03-22", "--every", "week", "--train-every", "2 weeks", "--preset", "quick")
MEASURES = ("users_measured", c.RATINGS_COUNT, "hits", "liked_hits", "recall_10", "ndcg_10")
ENVIRONMENT = {"RECMODEL_SCORING__MIN_HISTORY": "3"}


def second(day: date) -> int:
    """The last second of a day."""
    return int(datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=timezone.utc).timestamp())


def simulate(seed: int = 3) -> list[tuple]:
    """(user, movie, rating, time): a history, three weeks in which some come back and others are new, a quiet one."""
    world, rated = random.Random(seed), []

    def rate(user: int, movies: int, time: int) -> None:
        chosen = world.choices(MOVIES[:-1], range(23, 0, -1), k=movies)
        rated.extend((user, movie, world.randint(1, 10) / 2, time) for movie in chosen)

    for user in range(1, 41):
        rate(user, 1 + user % 9, second(NIGHTS[0]) - 86_400 * (user % 30))  # some in the night's last second
    for week, night in enumerate(NIGHTS):
        if week != 1:
            for user in [*world.sample(range(1, 41), 9), *range(100 * week + 100, 100 * week + 103)]:
                rate(user, world.randint(1, 5), second(night) + 1 + 86_400 * world.randint(0, 6))
    return rated


def expected_of(lists: dict[int, list[int]], before: list[tuple], since: list[tuple]) -> dict[str, tuple]:
    """By group of users: users, movies that were new to them, hits, liked hits, recall and NDCG."""
    known, latest, groups = defaultdict(set), defaultdict(dict), defaultdict(list)
    for user, movie, *_ in before:
        known[user].add(movie)
    for user, movie, stars, time in since:
        if movie not in known.get(user, ()):
            latest[user][movie] = max((time, stars), latest[user].get(movie, (0, 0)))
    for user, relevant in latest.items():
        found = [rank for rank, movie in enumerate(lists[user], start=1) if movie in relevant]
        liked = sum(relevant[lists[user][rank - 1]][1] >= 4 for rank in found)
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(10, len(relevant)) + 1))
        ndcg = sum(1 / math.log2(rank + 1) for rank in found) / ideal
        row = (len(relevant), len(found), liked, len(found) / len(relevant), ndcg)
        groups["returning" if user in known else "new"].append(row)
    return {
        group: (
            len(rows),
            *(sum(row[i] for row in rows) for i in range(3)),
            *(fmean(row[i] for row in rows) for i in (3, 4)),
        )
        for group, rows in groups.items()
    }


def replay(data: Path, output: Path, *flags: str) -> SimpleNamespace:
    """Run the command; return what it said and wrote, and by night the lists of the preset, trending and popularity."""
    lists = defaultdict(list)
    outcomes_of = backtest.outcomes_of

    def spy(night, rows):
        of_users = zip(night.users.to_pylist(), rows.tolist(), strict=True)
        lists[night.day].append({user: [MOVIES[row] for row in of_user if row >= 0] for user, of_user in of_users})
        return outcomes_of(night, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backtest, "outcomes_of", spy)
        answer = here("backtest", *(flags or FLAGS), "--data", data, "--output", output)
    assert answer.returncode == 0, said(answer)
    file = json.loads((output / "backtest.json").read_text())
    return SimpleNamespace(said=said(answer), file=file, lists=lists, output=output, data=data)


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """The replayed month of a preset that takes no gradient steps."""
    base = tmp_path_factory.mktemp("backtest")
    (base / "conf").mkdir()
    named = yaml.safe_load((ROOT / "conf/presets.yaml").read_text())
    (base / "conf/presets.yaml").write_text(yaml.safe_dump({**named, "quick": {**named["default"], "epochs": 0}}))
    (base / "conf/settings.yaml").write_text("{}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECMODEL_CONF", str(base / "conf"))
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield replay(write_movielens(base / "data", simulate(), MOVIES_CSV), base / "output")


def test_each_night_is_measured_by_what_came_until_the_next(month):
    rows = pq.read_table(month.output / "backtest.parquet")
    assert rows.schema.equals(c.BACKTEST)
    assert rows.to_pandas().notna()["trained_on"].sum() == sum(row["method"] == "quick" for row in rows.to_pylist())
    found = {
        (row[c.SCORED_ON], row["method"], row["users"]): tuple(row[name] for name in MEASURES)
        for row in rows.to_pylist()
    }
    right = {}
    for night in NIGHTS:
        before = [row for row in simulate() if row[3] <= second(night)]
        since = [row for row in simulate() if second(night) < row[3] <= second(night + timedelta(7))]
        for method, lists in zip(("quick", "trending", "popularity"), month.lists[night], strict=False):
            right |= {(night, method, group): of for group, of in expected_of(lists, before, since).items()}
    assert found.keys() == right.keys()
    assert {key[0] for key in found} == {NIGHTS[0], *NIGHTS[2:]}  # nobody came back after the second
    for key, row in right.items():
        assert found[key] == pytest.approx(row, rel=1e-9), key
    assert sum(row[2] for row in found.values()) > 0


def test_popularity_is_that_of_the_day_without_what_each_user_had_rated(month):
    for night in (NIGHTS[0], NIGHTS[3]):
        before = {row[:2] for row in simulate() if row[3] <= second(night)}
        count = Counter(movie for _, movie in before)
        ranked = sorted(MOVIES, key=lambda movie: (-count[movie], movie))
        _, trending, popular = month.lists[night]
        assert popular == {user: [m for m in ranked if (user, m) not in before][:10] for user in popular}
        assert popular != trending


def test_new_users_get_what_is_trending(month):
    of_preset, trending, _ = month.lists[NIGHTS[2]]
    new = [user for user in of_preset if user >= 300]
    assert new
    assert {user: of_preset[user] for user in new} == {user: trending[user] for user in new}
    assert any(of_preset[user] != trending[user] for user in of_preset)
    assert "9 users gave their first ratings after a night" in month.said.replace("\n", " ")


def test_lists_are_those_that_the_night_would_have_published(month, score_here, tmp_path):
    """Of a night that was not due to train, by Spark's workers."""
    night = NIGHTS[3]
    models = month.output / ".kept/quick/models"
    score_here("--data", month.data, "--models", models, "--output", tmp_path, "--run-date", night, "--as-of", night)
    published = defaultdict(list)
    rows = open_output(tmp_path).recommendations(night).to_table(columns=[c.USER_ID, c.RANK, c.MOVIE_ID]).to_pylist()
    for row in sorted(rows, key=lambda row: (row[c.USER_ID], row[c.RANK])):
        published[row[c.USER_ID]].append(row[c.MOVIE_ID])
    mine = {user: movies for user, movies in month.lists[night][0].items() if user in published}
    assert len(mine) > 4
    assert mine == {user: published[user] for user in mine}


def test_what_comes_after_a_night_changes_nothing_of_it(month, tmp_path):
    """Everybody who came back rates other movies, in other ways, and many more, and others are there too."""
    world, end = random.Random(1), second(NIGHTS[0])
    changed = [row for row in simulate() if row[3] <= end]
    for user in {row[0] for row in simulate() if row[3] > end} | {*range(900, 950)}:
        stars = [(movie, 5.0 if movie > 120 else 0.5) for movie in world.sample(MOVIES, 9)]
        changed.extend((user, *of_movie, end + world.randint(1, 6 * 86_400)) for of_movie in stars)
    data, output = write_movielens(tmp_path / "data", changed, MOVIES_CSV), tmp_path / "output"
    shutil.copytree(month.output, output)
    again = replay(data, output, "2025-03-01..2025-03-01", *FLAGS[1:])
    assert "the nights of quick are replayed anew, as other ratings or movies decide them now" in again.said
    shared = {*month.lists[NIGHTS[0]][0]} & {*again.lists[NIGHTS[0]][0]}
    assert len(shared) > 5
    for before, now in zip(month.lists[NIGHTS[0]], again.lists[NIGHTS[0]], strict=True):
        assert {user: before[user] for user in shared} == {user: now[user] for user in shared}


def test_what_was_done_is_kept_and_the_rest_is_done_as_it_would_have_been(month, tmp_path):
    """After a kill between the training of the third night and its end, and a process that trains no more than once."""
    output = tmp_path / "output"
    shutil.copytree(month.output, output)
    for night in NIGHTS[2:]:
        (output / f".kept/quick/{night}.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        started = []
        patch.setattr(job, "_TRAININGS", 1)
        patch.setattr(os, "execv", lambda *command: started.append(command))
        first = here("backtest", *FLAGS, "--data", month.data, "--output", output)
    assert "2 of 4 nights of quick are kept from before" in said(first)
    assert started == [(sys.executable, [sys.executable, *sys.orig_argv[1:]])]  # and not one night more
    again = replay(month.data, output)
    assert "3 of 4 nights of quick are kept from before" in again.said
    assert "4 of 4 nights of the baselines are kept from before" in again.said
    assert [*again.lists] == NIGHTS[3:]
    assert again.file == month.file
    assert month.file["trainings"] == {"quick": 2}
    prolonged = replay(month.data, output, "2025-03-01..2025-04-30", *FLAGS[1:])
    assert "2025-03-22 is the last night that is replayed, as the ratings end on 2025-03-2" in prolonged.said
    assert not prolonged.lists


@pytest.mark.parametrize(
    ("trained_on", "seen", "changes", "reason"),
    [
        (date(2025, 3, 1), 100, {}, None),
        (date(2025, 3, 1), 90, {}, "there are 100 ratings, the current version has seen 90"),
        (date(2025, 2, 28), 100, {}, "the current version is 8 days old"),
        (date(2025, 2, 28), 10, {"max_age_days": 30, "max_growth": 20}, None),
    ],
)
def test_training_is_due_by_the_rules_of_the_night(trained_on, seen, changes, reason):
    before = backtest.NightRecord(night=trained_on, trained_on=trained_on, ratings_seen=seen)
    night = SimpleNamespace(day=date(2025, 3, 8), ratings_there=100)
    request = SimpleNamespace(train_every=None)
    assert backtest._reason_to_train(settings.load(training=changes), request, before, night) == reason


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["2020-01..2020-02"], "nothing to train on by 2020-01-01, as the ratings begin on 2025-01-31"),
        (["2025-05..2025-06"], "no rating is later than 2025-05-01"),
        (["2025-03-01..2025-03-08", "--preset", "rating", "--rank-by", "blend"], "not trained for blend"),
        (["2025-03-01..2025-03-08", "--every", "fortnight"], "--every fortnight is no span of time"),
    ],
)
def test_what_cannot_be_replayed_is_refused(month, tmp_path, flags, sentence):
    answer = here("backtest", *flags, "--data", month.data, "--output", tmp_path)
    assert answer.returncode == 2
    assert sentence in said(answer)


def test_one_backtest_at_a_time_writes_to_a_folder(month):
    with kept_nights.locked(month.output):
        answer = here("backtest", *FLAGS, "--data", month.data, "--output", month.output)
    assert answer.returncode == 75
    assert "another backtest writes to" in said(answer)
