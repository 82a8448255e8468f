"""A run as of a time, in this process: it is the run of an input that was cut then, also when it is one of several."""

from datetime import datetime, timezone

from support.inputs import REPEATS, make_ratings, write_movielens
from support.runs import published, run_json, without_time

import recmodel
from recmodel import schemas as c
from recmodel.data import pieces, reading
from recmodel.models import versions
from recmodel.tables.output import open_output

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


def test_dates_that_read_the_input_together_have_what_each_would_read_alone(
    toy_models, tmp_path, score_here, monkeypatch
):
    """Rows, rejects with their numbers, and what is said of the input; of several shares, the first one in no order."""
    monkeypatch.setattr(pieces, "TEXT_BYTES", 500)
    monkeypatch.setenv("RECMODEL_INPUT__MAX_REJECTED_SHARE", "0.5")
    rows = [(*row[:3], END - 86_400 + 1_200 * (n - 30)) for n, row in enumerate([*make_ratings(), *REPEATS])]
    rows[3:3] = [(1, 999, 4.0, END - 86_500), (1, 2, 7.0, END - 86_500), (1, 999, 4.0, END + 9), ("x", 1, 4.0, END + 9)]
    rows[60:60] = [(1, 1, 4.0, "yesterday"), (1, 1), (2, 999, 2.0, END + 1)]
    folder = write_movielens(tmp_path / "data", [rows[5], rows[0], *rows])
    common = ("--data", folder, "--models", toy_models)
    shares, read = reading.shares, []
    monkeypatch.setattr(reading, "shares", lambda source, schema: [read.append(source.name), shares(source, schema)][1])
    days = {"1970-01-11": "2026-01-29", DAY: "2026-01-30", "": "2026-01-31"}
    for as_of, day in days.items():
        then = ("--run-date", day, *(("--as-of", as_of) if as_of else ()))
        score_here(*common, "--output", tmp_path / "alone", *then)
        read.clear()
        score_here(*common, "--output", tmp_path / "together", *then, "--read-until", "")
        assert read.count("ratings.csv") == (1 if as_of == "1970-01-11" else 0)
        alone, together = (run_json(tmp_path / output, day) for output in ("alone", "together"))
        of_process = ("run_id", "started_at", "finished_at", "seconds", "settings", "peak_mib")
        of_process += ("model_loads", "slowest_model_load_seconds")
        assert {name: together[name] for name in together.keys() - {*of_process}} == {
            name: alone[name] for name in alone.keys() - {*of_process}
        }
        assert alone["rows_rejected"] > 3 or as_of
        for table in c.TABLES:
            a, b = (published(tmp_path / output, day, table) for output in ("alone", "together"))
            if table == c.RECOMMENDATIONS_TABLE:
                a, b = without_time(a), without_time(b)
            assert a.num_rows or table == c.HITS_TABLE  # nobody came back between runs of one input
            assert b.equals(a), table
    output = open_output(tmp_path / "together")
    (kept,) = (tmp_path / "together/.store/staging").iterdir()
    assert kept.name.startswith("input-")
    output.discard_kept_input()
    assert not kept.exists()


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
