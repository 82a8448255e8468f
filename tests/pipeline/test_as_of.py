"""A run as of a time, in this process: it is the run of an input that was cut at that time."""

from datetime import datetime, timezone

from support.inputs import REPEATS, make_ratings, write_movielens
from support.runs import published, run_json, without_time

import recmodel
from recmodel import schemas as c
from recmodel.models import versions

DAY = "1970-01-12"  # in whose course the ratings of `make_ratings` begin
END = 12 * 86_400


def test_a_run_as_of_a_day_is_that_of_data_cut_at_its_end(toy_models, tmp_path, score_here):
    """Later ratings change a user's list, bring a user and make movies popular."""
    rows = [(*row[:3], END - 60 + n) for n, row in enumerate([*make_ratings(), *REPEATS])]
    later = [(1, 11, 5.0, END), (500, 11, 5.0, END + 5), *((user, 11, 5.0, END + user) for user in range(2, 30))]
    whole = write_movielens(tmp_path / "whole", [*rows, *later])
    cut = write_movielens(tmp_path / "cut", [row for row in rows if row[3] < END])
    default = next(v for v in versions.list_versions(toy_models) if "-default-" in v)
    common = ("--models", toy_models, "--model-version", default, "--run-date", "2026-01-31", "--min-history", "3")
    said = score_here("--data", whole, "--output", tmp_path / "a", "--as-of", DAY, *common).stdout
    score_here("--data", cut, "--output", tmp_path / "b", *common)
    for table in c.TABLES:
        as_of, of_cut = (published(tmp_path / output, "2026-01-31", table) for output in ("a", "b"))
        if table == c.RECOMMENDATIONS_TABLE:
            as_of, of_cut = without_time(as_of), without_time(of_cut)
            assert {*as_of[c.SOURCE].to_pylist()} == {"model", "trending"}
        assert as_of.equals(of_cut), table
    a, b = (run_json(tmp_path / output, "2026-01-31") for output in ("a", "b"))
    left_out = len(rows) + len(later) - b["rows_in"]["ratings.csv"]
    assert (a["ratings_left_out"], b["ratings_left_out"]) == (left_out, 0)
    assert (a["as_of"], b["as_of"]) == ("1970-01-12T23:59:59+00:00", None)
    same = ("rows_in", "rows_used", "rows_rejected", "newest_rating", "users", "recommendations", "ratings_superseded")
    assert {name: a[name] for name in same} == {name: b[name] for name in same}
    newest = f"run date 2026-01-31, with ratings up to 1970-01-12 23:59 UTC; {left_out} later ones left out"
    assert newest in " ".join(said.split())


def test_a_model_as_of_a_time_is_that_of_data_cut_then(tmp_path):
    rows = make_ratings()
    last = rows[-20][3]
    whole = write_movielens(tmp_path / "whole", rows)
    cut = write_movielens(tmp_path / "cut", [row for row in rows if row[3] <= last])
    moment = datetime.fromtimestamp(last, timezone.utc)
    as_of = recmodel.train(whole, tmp_path / "a", preset="rating", epochs=1, as_of=moment)
    of_cut = recmodel.train(cut, tmp_path / "b", preset="rating", epochs=1)
    assert as_of.manifest.data_fingerprint == of_cut.manifest.data_fingerprint
    assert as_of.metrics().rmse == of_cut.metrics().rmse
    assert as_of.manifest.newest_rating == of_cut.manifest.newest_rating == moment
