"""What the report warns of."""

from collections import Counter
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

from support.report import METRICS, collect

from recmodel import settings
from recmodel.records import InputFile, Metrics
from recmodel.report import drift, facts, findings


def kinds(run: facts.Facts, /, **changes) -> Counter:
    """Count the findings by kind; they must be sorted by it."""
    result = findings.findings(SimpleNamespace(**{**vars(run), **changes}), settings.load())
    kinds = [finding.kind for finding in result]
    assert kinds == sorted(kinds, key=["warning", "good", "note"].index)
    return Counter(kinds)


def test_each_change_for_the_worse_is_one_warning(site):
    run = collect(site)
    assert kinds(run)["warning"] == 0

    def model(**changes):
        return facts.Model(**{**vars(run.model), **changes})

    def night(**changes):
        return [*run.nights[:-1], drift.Night(**{**vars(run.nights[-1]), **changes})]

    now = run.nights[-1]
    for changes in (
        {"model": model(metrics=Metrics(**METRICS | {"rmse": 0.95}))},
        {"model": model(metrics=Metrics(**METRICS | {"top_k_accuracy_unseen": {"100": 0.2}}))},
        {"model": model(metrics=Metrics(test_rows=0, train_rows=1))},
        {"model": model(metrics=Metrics(**METRICS | {"baselines": None}))},
        {"model": model(created_at=now_utc() - timedelta(days=8))},
        {"model": model(not_promoted={"newer": ["held-out RMSE is high"]})},
        {"model": model(failed_training=(run.run.finished_at, "train was killed by SIGKILL"))},
        {"model": None, "model_missing": "the model is gone"},
        {"nights": night(users=round(run.nights[-2].users * 0.85))},
        {"nights": night(coverage=run.nights[-2].coverage * 0.7)},
        {"nights": night(predicted_rating=now.predicted_rating + 0.3)},
        {"run": run.run.model_copy(update={"model_address": "models:/a@b", "model_address_failure": "it is down"})},
        {"rejects": [run.rejects[0] | {"file": "ratings.csv", "rows": 3}]},
    ):
        assert kinds(run, **changes)["warning"] == 1, changes
    for changes in (
        {"nights": night(users=round(run.nights[-2].users * 0.95))},
        {"model": model(failed_training=(now_utc() + timedelta(days=1), "after the run"))},
    ):
        assert kinds(run, **changes)["warning"] == 0, changes


def test_what_was_assumed_of_the_input_is_a_note(site):
    run = collect(site)
    plain, odd = (InputFile(file="ratings.csv", layout="CSV", assumptions=a, rows=9) for a in ([], ["decimal comma"]))

    def notes(file: InputFile) -> list[str]:
        changed = SimpleNamespace(**{**vars(run), "run": run.run.model_copy(update={"input": [file]})})
        return [f.sentence for f in findings.findings(changed, settings.load()) if "ratings.csv: CSV" in f.sentence]

    assert notes(plain) == []
    assert notes(odd) == ["How the input was read: ratings.csv: CSV; decimal comma; 9 rows, 0 rejected."]


def test_the_newest_rating_is_named_and_what_the_model_must_not_have_seen_is_a_warning(site):
    run = collect(site)
    noon = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

    def sentences(as_of: datetime | None, seen: datetime | None) -> list[tuple[str, str]]:
        record = run.run.model_copy(update={"newest_rating": noon, "as_of": as_of, "ratings_left_out": 12})
        changes = {"run": record, "model": facts.Model(**{**vars(run.model), "newest_rating": seen})}
        result = findings.findings(SimpleNamespace(**{**vars(run), **changes}), settings.load())
        return [(f.kind, f.sentence.replace("\u00a0", " ")) for f in result]

    newest = "The newest of the ratings that were used is of 31 January 2026, 12:00 UTC"
    assert ("note", f"{newest}.") in sentences(None, noon)
    assert ("note", f"{newest}; 12 later ones were left out.") in sentences(noon, noon)
    seen = "The model has seen ratings up to 31 January 2026, 13:00 UTC; this run is as of 31 January 2026, 12:00 UTC."
    assert ("warning", seen) in sentences(noon, noon + timedelta(hours=1))
    for as_of, latest in ((noon, noon), (None, noon + timedelta(hours=1)), (noon, None)):
        assert not any("has seen" in sentence for _, sentence in sentences(as_of, latest))


def test_an_imported_model_is_neither_measured_nor_too_old(site):
    run = collect(site)
    elsewhere = {"is_imported": True, "metrics": Metrics(), "created_at": now_utc() - timedelta(days=80)}
    assert kinds(run, model=facts.Model(**{**vars(run.model), **elsewhere}))["warning"] == 0


def now_utc() -> datetime:
    return datetime.now(timezone.utc)
