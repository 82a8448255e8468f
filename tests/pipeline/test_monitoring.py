"""The metrics of a night, as Prometheus reads them."""

from datetime import datetime, timedelta, timezone

from prometheus_client.parser import text_string_to_metric_families
from support.runs import record

from recmodel.pipeline import monitoring
from recmodel.records import Figures, Manifest, Metrics

NIGHT = monitoring.NightFigures(training="refused", seconds={"train": 12.5, "score": 60.0}, findings=2)


def samples(path):
    """The value of each series, by its name and labels."""
    families = text_string_to_metric_families(path.read_text())
    return {
        (sample.name.removeprefix("recmodel_"), *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_night_a_run_and_a_model_are_series_with_the_environment_on_each(tmp_path):
    finished = datetime(2026, 1, 31, 3, 30, tzinfo=timezone.utc)
    figures = Figures(rows=80, users=8, popular_users=2)
    run = record(users=8, finished_at=finished, recommendations=figures, seconds={"publish": 0.5})
    created = datetime.now(timezone.utc) - timedelta(hours=1)
    model = monitoring.Model(
        Manifest(format_version=2, created_at=created, files={}),
        Metrics(rmse=0.85, top_k_accuracy_unseen={"100": 0.375}),
    )
    path = tmp_path / "new" / "metrics.prom"
    monitoring.write_textfile(path, 0, run, environment="staging", night=NIGHT, model=model)
    found = samples(path)
    environment = ("environment", "staging")
    assert all(environment in labels for _, *labels in found)
    for (name, *labels), value in {
        ("last_exit_code",): 0, ("users",): 8, ("recommendation_rows",): 80, ("cold_share",): 0.25, ("findings",): 2,
        ("last_published_timestamp_seconds",): finished.timestamp(), ("model_rmse",): 0.85,
        ("model_accuracy_at_100",): 0.375, ("model_info", ("version", "v")): 1,
        ("training_outcome", ("outcome", "refused")): 1, ("training_outcome", ("outcome", "promoted")): 0,
        ("step_seconds", ("step", "train")): 12.5, ("step_seconds", ("step", "score")): 60,
        ("stage_seconds", ("stage", "publish")): 0.5,
    }.items():  # fmt: skip
        assert found[(name, *sorted([environment, *labels]))] == value
    assert 3600 <= found["model_age_seconds", environment] < 3700


def test_without_an_environment_series_have_the_names_that_they_always_had(tmp_path):
    """And before the first run, or when the model is gone, what is not known is left out."""
    monitoring.write_textfile(tmp_path / "metrics.prom", 5, None, training_failed=True)
    found = samples(tmp_path / "metrics.prom")
    ended = found.pop(("last_run_timestamp_seconds",))
    assert found == {("last_exit_code",): 5, ("training_failed",): 1}
    assert abs(ended - datetime.now().timestamp()) < 60
