"""One incremental night after another: the job in this process, on data that change in between."""

from datetime import date
from itertools import pairwise
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.inputs import CATALOGUE, make_ratings, write_movielens
from support.processes import here, said
from support.runs import published, record, run_json, without_time

from recmodel import schemas as c
from recmodel import settings, storage
from recmodel.data.catalogue import combine
from recmodel.data.feedback import of_ratings
from recmodel.errors import InputRejected
from recmodel.models.versions import FORMAT_VERSION
from recmodel.pipeline import incremental
from recmodel.records import Manifest
from recmodel.tables.base import run_file
from recmodel.tables.output import open_output


@pytest.fixture(scope="module")
def default_model(toy_models):
    """Recommends by all of a user's ratings."""
    (version,) = toy_models.glob("*-default-*")
    return "--models", toy_models, "--model-version", version.name


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory):
    """The data of two nights; who is another in the second; and someone with too few ratings for the model."""
    first = [*make_ratings(), (90, 1, 3.0, 5), (91, 1, 3.0, 5), (91, 2, 3.0, 5)]
    second = [row for row in first if row[0] != 3]  # user 3 has left,
    second += [(4, 11, 5.0, 2_000_000)]  # user 4 has rated one more,
    second += [(5, *next(row for row in first if row[0] == 5)[1:3], 9)]  # 5 has rated a movie again as before,
    place = next(i for i, row in enumerate(second) if row[0] == 6)
    second[place] = (6, second[place][1], 5.5 - second[place][2], second[place][3])  # 6 has changed a rating,
    second += [(100, 1, 5.0, 5), (100, 4, 4.0, 5)]  # and 100 is new.
    base = tmp_path_factory.mktemp("two-nights")
    nights = write_movielens(base / "first", first), write_movielens(base / "second", second[::-1])
    return SimpleNamespace(nights=nights, others={4, 5, 6, 100}, few=90)


def assert_equal_but_for_rounding(found, expected):
    """A product of blocks is rounded by who else is in the block."""
    pd.testing.assert_frame_equal(found.to_pandas(), expected.to_pandas(), check_exact=False, rtol=1e-6, atol=1e-7)


def test_an_incremental_night_gives_what_a_full_one_gives(two_nights, default_model, tmp_path, score_here, monkeypatch):
    monkeypatch.setenv("RECMODEL_SCORING__MIN_HISTORY", "2")
    monkeypatch.setenv("RECMODEL_SCORING__USERS_PER_TASK", "10")
    first_data, second_data = two_nights.nights
    for mode, output, day, data in (
        ("--incremental", tmp_path / "a", "2026-02-01", first_data),
        ("--incremental", tmp_path / "a", "2026-02-02", second_data),
        ("--full", tmp_path / "b", "2026-02-02", second_data),
    ):
        score_here("--data", data, "--output", output, "--run-date", day, mode, *default_model)
    carried, full = (published(output, "2026-02-02") for output in (tmp_path / "a", tmp_path / "b"))
    assert_equal_but_for_rounding(without_time(carried), without_time(full))
    lists = [published(output, "2026-02-02", c.LISTS_TABLE).to_pandas() for output in (tmp_path / "a", tmp_path / "b")]
    of_carried, of_full = ([[row[c.MOVIE_ID] for row in rows] for rows in of[c.RECOMMENDATIONS]] for of in lists)
    assert of_carried == of_full
    assert lists[0].drop(columns=c.RECOMMENDATIONS).equals(lists[1].drop(columns=c.RECOMMENDATIONS))
    ratings = [published(output, "2026-02-02", "predicted_ratings") for output in (tmp_path / "a", tmp_path / "b")]
    assert_equal_but_for_rounding(*ratings)
    first, second, whole = (run_json(*which) for which in (
        (tmp_path / "a", "2026-02-01"), (tmp_path / "a", "2026-02-02"), (tmp_path / "b", "2026-02-02")
    ))  # fmt: skip
    assert second["carried_from"] == {"run_id": first["run_id"], "run_date": "2026-02-01"}
    assert first["carried_from"] is whole["carried_from"] is None
    until = pc.max(published(tmp_path / "a", "2026-02-01")[c.SCORED_AT])
    anew = {*carried.filter(pc.greater(carried[c.SCORED_AT], until))[c.USER_ID].to_pylist()}
    assert anew == two_nights.others | {two_nights.few}
    assert second["users_scored"] == len(anew)
    assert first["users_scored"] == first["users"]
    assert whole["users_scored"] == whole["users"] == second["users"]
    files = sorted((tmp_path / "a/recommendations/run_date=2026-02-02").resolve().glob("*.parquet"))
    users = [pq.read_table(file)[c.USER_ID].to_pylist() for file in files]
    assert all(ids == sorted(ids) for ids in users)
    assert all(left[-1] < right[0] for left, right in pairwise(sorted(users)))


def test_rows_are_carried_only_where_nothing_but_ratings_has_changed(tmp_path):
    """Of the newest run, of that date or before, of all users, that was incremental too and has the same conditions."""

    def version_of(content: str) -> SimpleNamespace:
        return SimpleNamespace(manifest=Manifest(format_version=FORMAT_VERSION, files={"a": content}))

    denied = tmp_path / "denied.csv"
    denied.write_text("userId,movieId\n1,2\n")

    def conditions_of(rank_by="retrieval", content="1", tonight=CATALOGUE, place_new=True, **changed):
        rules = {"deny_pairs": str(denied), **changed.pop("rules", {})}
        movies = combine(tonight, CATALOGUE, place_new=place_new)
        chosen = settings.load(rules=rules, **changed)
        return incremental.conditions(chosen, rank_by, version_of(content), movies, of_ratings(chosen.input))

    renamed = CATALOGUE.set_column(1, c.TITLE, [["Another", *CATALOGUE.column(c.TITLE).to_pylist()[1:]]])
    more = pa.concat_tables([CATALOGUE, CATALOGUE.slice(0, 1).set_column(0, c.MOVIE_ID, pa.array([999]))])

    conditions = conditions_of()
    runs = {
        "2026-02-01": {},
        "2026-02-02": {"conditions": "others"},
        "2026-02-03": {"all_users": False},
        "2026-02-04": {"settings": {"scoring": {"incremental": False}}},
        "2026-02-06": {},
    }
    alike = {"conditions": conditions, "all_users": True, "settings": {"scoring": {"incremental": True}}}
    for day, differs in runs.items():
        run = record(date.fromisoformat(day), **(alike | differs))
        storage.write(run_file(tmp_path, run.run_date), run.to_bytes())
    output = open_output(tmp_path)
    found = {day: incremental.earlier_run(output, date(2026, 2, day), conditions) for day in (1, 5, 6, 7)}
    assert {day: run.run_date.day for day, run in found.items()} == {1: 1, 5: 1, 6: 6, 7: 6}
    assert incremental.earlier_run(output, date(2026, 1, 31), conditions) is None
    assert conditions_of(scoring={"incremental": True}) == conditions
    assert conditions_of(tonight=more, place_new=False) == conditions  # what the model cannot score changes no list
    denied.write_text("userId,movieId\n1,3\n")
    others = [
        conditions_of(),
        conditions_of(scoring={"top_n": 11}),
        conditions_of(rules={"max_per_genre": 3}),
        conditions_of(tonight=more),
        conditions_of(rules={"deny": {"genres": ["Horror"]}}),
        conditions_of(input={"rating_max": 10}),
        conditions_of("rating"),
        conditions_of(content="2"),
        conditions_of(tonight=CATALOGUE.slice(1)),
        conditions_of(tonight=renamed),
    ]
    assert len({conditions, *others}) == 1 + len(others)
    denied.unlink()
    with pytest.raises(InputRejected, match="denied.csv does not exist; rules.deny_pairs takes .* userId and movieId"):
        conditions_of()


def test_lists_are_not_carried_where_other_movies_may_be_recommended_every_night(
    toy, toy_models, tmp_path, monkeypatch
):
    monkeypatch.setenv("RECMODEL_RULES__MIN_RATINGS", "2")
    result = here("score", "--data", toy, "--models", toy_models, "--output", tmp_path / "o", "--incremental")
    assert result.returncode == 2
    assert "choose one of scoring.incremental and rules.min_ratings" in said(result)
