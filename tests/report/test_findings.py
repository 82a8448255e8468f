"""What the report warns of."""

from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace

from support.report import METRICS, collect

from recmodel import settings
from recmodel.records import EarlierRun, Figures, InputFile, Metrics
from recmodel.report import drift, facts, findings, hits


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
        {"model": model(metrics=Metrics(**METRICS | {"gate": ["held-out RMSE is high"]}))},
        {"model": model(metrics=Metrics(**METRICS | ndcg(0.02, popular=0.02)))},
        {"hits": hits_of(run, ndcg=0.0, popular_ndcg=0.0)},
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


def ndcg(value: float, popular: float) -> dict:
    """Of the model and of popularity, in metrics.json."""
    popularity = METRICS["baselines"]["popularity"] | {"ndcg_at_10": popular}
    return {"ndcg_at_10": value, "baselines": METRICS["baselines"] | {"popularity": popularity}}


def hits_of(run: facts.Facts, **changes) -> hits.AllHits:
    """The hits of the site, as if all its users had come back to these."""
    groups = {group: replace(of, **changes) for group, of in run.hits.groups.items()}
    return hits.AllHits(run.hits.runs, groups)


def sentences(known: facts.Facts, **changes) -> list[tuple[str, str]]:
    result = findings.findings(SimpleNamespace(**{**vars(known), **changes}), settings.load())
    return [(finding.kind, finding.sentence.replace("\u00a0", " ")) for finding in result]


def test_which_users_and_movies_a_run_has_lists_of_is_a_note(site):
    run = collect(site)
    before = EarlierRun(run_id="x", run_date=date(2026, 1, 30))
    for changes, wanted in (
        ({"all_users": False, "users_asked": 7, "users_kept": 3},
         "This is a partial run: it scored only the 7 users asked for, and keeps the lists of 3 others. It is compared "
         "with no other run."),
        ({"users": 1200, "users_scored": 40, "carried_from": before},
         "The run is incremental: of 1,200 users, 40 were scored; the others keep their lists of 30 January 2026."),
        ({"users_opted_out": 5}, "5 users opted out, for whom there is only what is popular."),
        ({"users_forgotten": 2}, "Erased since the run was published, but still in its counts: 2 users."),
        ({"movies_new": 1}, "1 movie is new to the model, which can recommend it once it is trained again."),
        ({"movies_new": 2, "movies_placed": 2},
         "2 movies are new to the model, which knows their genres and years only; nobody is recommended them."),
        ({"movies_new": 1, "movies_placed": 1, "recommendations": Figures(new_rows=3)},
         "1 movie is new to the model, which knows its genres and year only; 3 recommendations are of it."),
        ({"movies_delisted": 1},
         "1 movie that the model knows is not in the catalogue any more: nobody is recommended it, and its ratings "
         "still count as seen and as taste."),
    ):  # fmt: skip
        found = sentences(run, run=run.run.model_copy(update=changes))
        assert ("note", wanted) in found
        assert ("note", wanted) not in sentences(run)
    partial = sentences(run, run=run.run.model_copy(update={"all_users": False}), nights=run.nights[-1:])
    assert not any("earlier run" in sentence for _, sentence in partial)


def test_what_came_of_training_is_green_only_if_the_gate_passed_it(site):
    run = collect(site)
    other = [drift.Night(**{**vars(run.nights[-2]), "model_version": "other"}), run.nights[-1]]

    def of_model(gate, nights) -> tuple[str, str]:
        created = datetime(2026, 1, 31, 3, tzinfo=timezone.utc)
        model = facts.Model(**{**vars(run.model), "metrics": Metrics(**METRICS, gate=gate), "created_at": created})
        (found,) = [f for f in sentences(run, model=model, nights=nights) if "trained on 31 January 2026" in f[1]]
        return found

    assert of_model([], other) == (
        "good", "The model is new since 29 January 2026, trained on 31 January 2026; it passed the gate."
    )  # fmt: skip
    assert of_model(None, other)[0] == "note"
    assert of_model([], run.nights) == ("note", "The model is the one of the run before, trained on 31 January 2026.")
    refused = "The gate refused the model, trained on 31 January 2026, which is used all the same: RMSE is high."
    for nights in (other, run.nights, run.nights[-1:]):
        assert of_model(["RMSE is high"], nights) == ("warning", refused)


def test_a_few_users_who_came_back_are_no_judgement(site):
    run = collect(site)
    few = hits_of(run, users=10, ndcg=0.5)
    assert ("good", "came back") not in [(kind, sentence[6:15]) for kind, sentence in sentences(run, hits=few)]
    assert any(kind == "note" and "too few to say" in sentence for kind, sentence in sentences(run, hits=few))


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

    def of_times(as_of: datetime | None, seen: datetime | None) -> list[tuple[str, str]]:
        record = run.run.model_copy(update={"newest_rating": noon, "as_of": as_of, "ratings_left_out": 12})
        return sentences(run, run=record, model=facts.Model(**{**vars(run.model), "newest_rating": seen}))

    newest = "The newest of the ratings that were used is of 31 January 2026, 12:00 UTC"
    assert ("note", f"{newest}.") in of_times(None, noon)
    assert ("note", f"{newest}; 12 later ones were left out.") in of_times(noon, noon)
    seen = "The model has seen ratings up to 31 January 2026, 13:00 UTC; this run is as of 31 January 2026, 12:00 UTC."
    assert ("warning", seen) in of_times(noon, noon + timedelta(hours=1))
    for as_of, latest in ((noon, noon), (None, noon + timedelta(hours=1)), (noon, None)):
        assert not any("has seen" in sentence for _, sentence in of_times(as_of, latest))


def test_an_imported_model_is_neither_measured_nor_too_old(site):
    run = collect(site)
    elsewhere = {"is_imported": True, "metrics": Metrics(), "created_at": now_utc() - timedelta(days=80)}
    assert kinds(run, model=facts.Model(**{**vars(run.model), **elsewhere}))["warning"] == 0


def now_utc() -> datetime:
    return datetime.now(timezone.utc)
