"""Model versions in MLflow: what is logged, whom the alias names, and what a folder without models takes from there."""

import json
import os
import re
import shutil
import sys
from datetime import date
from pathlib import Path

import pytest
from support import mlflow as servers
from support.databases import free_port
from support.processes import here, said
from support.report import DAY, publish, recommendations

from recmodel import settings
from recmodel.cli import console
from recmodel.data.validation import Validation
from recmodel.errors import ModelRejected, UsageRejected
from recmodel.models import versions
from recmodel.pipeline import nightly, registry
from recmodel.pipeline.resolve import resolve_run
from recmodel.progress import Stages
from recmodel.storage import sha256
from recmodel.tables.output import open_output

pytestmark = pytest.mark.skipif(
    bool(servers.MISSING), reason=f"MLflow's server needs {', '.join(servers.MISSING)}: pip install 'recmodel[test]'"
)
CHAMPION = "models:/recmodel@champion"


@pytest.fixture(scope="module")
def server():
    with servers.server() as address:
        yield address


@pytest.fixture
def client(server, monkeypatch):
    """A client of the server, which the settings name too; retries are few, as some tests have no server."""
    from mlflow import MlflowClient

    monkeypatch.setenv("RECMODEL_MLFLOW__TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("RECMODEL_TRAINING__REFIT", "false")  # as tests ask for no more than one fit
    return MlflowClient(server)


@pytest.fixture
def registered(client, toy, toy_models, tmp_path, request, monkeypatch):
    """(models, the version that was trained before, the one that is current and named by the alias); its own names."""
    monkeypatch.setenv("RECMODEL_MLFLOW__MODEL", request.node.name)
    models = shutil.copytree(toy_models, tmp_path / "trained")
    rating, *_, joint = versions.list_versions(models)
    versions.promote(models, rating)
    chosen = settings.load(paths={"models": str(models)})
    registry.record(chosen, rating, promoted=True)
    versions.promote(models, joint)
    registry.record(chosen, joint, promoted=True)
    return models, rating, joint, f"models:/{request.node.name}@champion"


def named(client, model="recmodel"):
    """The version of ours that the alias names."""
    return client.get_model_version_by_alias(model, "champion").tags["recmodel_version"]


def test_training_logs_parameters_metrics_and_the_version_and_the_alias_follows(client, toy, tmp_path):
    models = tmp_path / "models"
    trained = here("train", "--data", toy, "--models", models, "--preset", "joint", "--epochs", "2", "--seed", "7")
    assert trained.returncode == 0, said(trained)
    version = versions.open_version(models)
    assert f"MLflow: {version.name} became version 1 of recmodel, which champion names now" in said(trained)
    found = client.get_model_version_by_alias("recmodel", "champion")
    run, metrics = client.get_run(found.run_id), json.loads((version.path / "metrics.json").read_text())
    assert (run.info.status, run.info.run_name) == ("FINISHED", version.name)
    assert client.get_experiment(run.info.experiment_id).name == "recmodel"
    assert run.data.params["preset.rating_weight"] == str(version.manifest.settings["preset"]["rating_weight"])
    assert run.data.params["training.seed"] == "7"
    assert run.data.metrics["ndcg_at_10"] == pytest.approx(metrics["ndcg_at_10"])
    assert run.data.metrics["rmse"] == pytest.approx(metrics["rmse"])
    popular = metrics["baselines"]["popularity"]["ndcg_at_10"]
    assert run.data.metrics["baselines/popularity/ndcg_at_10"] == pytest.approx(popular)
    tags = {"recmodel_version": version.name, "data_fingerprint": version.manifest.data_fingerprint, "gate": "passed"}
    assert run.data.tags.items() >= tags.items()
    assert found.tags.items() >= tags.items()
    assert run.data.tags["mlflow.source.git.commit"] == version.manifest.git_commit
    client.download_artifacts(found.run_id, "version", str(tmp_path))
    assert sha256(tmp_path / "version") == sha256(version.path)


def test_the_alias_follows_promotions_and_rollbacks(client, registered):
    models, rating, joint, _ = registered
    model = settings.load().mlflow.model
    assert named(client, model) == joint
    back = here("models", "rollback", "--models", models)
    assert (back.returncode, named(client, model)) == (0, versions.current(models))
    assert versions.current(models) == rating
    _, retrieval, default, _ = versions.list_versions(models)  # MLflow does not know these yet
    registry.record(settings.load(paths={"models": str(models)}), retrieval, promoted=False)
    found = client.get_model_version(model, "3")
    assert (found.tags["recmodel_version"], found.tags["gate"]) == (retrieval, "not asked")
    assert named(client, model) == rating
    promoted = here("models", "promote", default, "--models", models)
    assert (promoted.returncode, named(client, model)) == (0, default)
    assert f"{default} became version 4 of {model}, which champion names now" in said(promoted)


def test_a_folder_without_models_takes_what_the_alias_names_once(client, registered, toy, tmp_path, caplog):
    caplog.set_level("INFO", "recmodel")
    trained, rating, joint, address = registered
    paths = {"data": str(toy), "models": str(tmp_path / "fresh"), "output": str(tmp_path / "output")}
    chosen = settings.load(paths=paths)

    def resolved(address):
        output, validation = open_output(chosen.paths.output), Validation(chosen.input)
        run = resolve_run(chosen, output, date.today(), address, None, str(toy), validation, Stages())
        assert run.named == (run.version.name, address, "")
        return run.version

    version = resolved(address)
    assert (version.name, version.path) == (joint, tmp_path / "fresh" / joint)
    assert (version.path / "manifest.json").read_bytes() == (trained / joint / "manifest.json").read_bytes()
    assert f"{address} is version 2, which is {joint}; it was copied to {tmp_path / 'fresh'}" in caplog.text
    assert resolved(address.replace("@champion", "/1")).name == rating
    caplog.clear()
    assert resolved(address).name == joint
    assert "copied" not in caplog.text
    for number in range(2):  # newer ones, which are not used
        shutil.copytree(trained / joint, tmp_path / f"fresh/z{number}")
    assert versions.prune(tmp_path / "fresh", 1) == ["z0"]

    with pytest.raises(ModelRejected, match=r"MLflow has no models:/.*@nobody"):
        resolved(address.replace("@champion", "@nobody"))
    with pytest.raises(UsageRejected, match="write models:/NAME@ALIAS"):
        resolved("models:/recmodel")


def test_a_night_of_a_registered_version_trains_nothing(toy, tmp_path, caplog):
    caplog.set_level("INFO", "recmodel")
    chosen = settings.load(paths={"data": str(toy), "models": str(tmp_path)}, mlflow={"model_version": CHAMPION})
    assert nightly._reason_to_train(nightly.Night(chosen, None, [], [], model_version=CHAMPION)) is None
    assert f"tonight's model is {CHAMPION}, so no night trains another" in caplog.text
    assert nightly._reason_to_train(nightly.Night(chosen, None, [], [])) == "there is no model yet"


def test_what_is_damaged_in_mlflow_is_not_taken(client, registered, tmp_path):
    *_, address = registered
    found = client.get_model_version_by_alias(settings.load().mlflow.model, "champion")
    changed = tmp_path / "catalogue.parquet"
    changed.write_bytes(b"changed")
    client.log_artifact(found.run_id, str(changed), "version")
    chosen = settings.load(paths={"models": str(tmp_path / "fresh")})
    with pytest.raises(ModelRejected, match=r"catalogue.parquet was changed"):
        registry.find(chosen, address)
    assert versions.list_versions(tmp_path / "fresh") == []


def test_without_its_server_training_and_scoring_go_on_with_a_warning(registered, toy, tmp_path, monkeypatch, caplog):
    _, _, joint, address = registered
    chosen = settings.load(paths={"models": str(tmp_path / "fresh")})
    assert registry.find(chosen, address) == (joint, address, "")
    address_of_none = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("RECMODEL_MLFLOW__TRACKING_URI", address_of_none)
    down = settings.load(paths={"models": str(tmp_path / "fresh")})
    assert registry.find(down, address)[:2] == (joint, address)
    assert f"it is taken to be {joint}, as last time" in caplog.text
    with pytest.raises(ModelRejected, match="cannot be had from MLflow"):
        registry.find(down, CHAMPION)

    models = tmp_path / "models"
    ending = nightly.Ending()
    console.start_log(str(tmp_path / "log"), "nightly")
    train = ("train", "--data", str(toy), "--models", str(models), "--preset", "rating", "--epochs", "1")
    assert nightly._timed_step(ending, down, *train) is None
    (finding,) = ending.warnings
    assert f"MLflow failed (no answer from {address_of_none})" in finding
    assert f"models promote {versions.current(models)} does it later" in finding
    assert (ending.outcome, ending.exit_code) == ("findings", 0)
    assert nightly.hook_facts(down, ending)["findings"] == [finding]
    assert [path.suffix for path in (tmp_path / "log").iterdir()] == [".log"]


def test_the_page_of_the_newest_run_is_kept_with_its_version_and_without_users_who_are_erased(
    client, registered, tmp_path
):
    _, _, joint, _ = registered
    found = client.get_model_version_by_alias(settings.load().mlflow.model, "champion")
    publish(tmp_path / "output", recommendations(range(1, 30), 12), DAY, joint)
    where = ("--output", tmp_path / "output", "--models", tmp_path / "none")

    def shown() -> list[str]:
        page = Path(client.download_artifacts(found.run_id, "report.html", str(tmp_path))).read_text(encoding="utf-8")
        return re.findall("<h3>User ([0-9]+) ", page)

    assert here("report", *where, "--data", tmp_path / "none").returncode == 0
    user, *others = shown()
    erased = here("forget", user, "--now", *where)
    assert (erased.returncode, shown()) == (0, others), said(erased)
    assert "MLflow has the newest page of each version anew" in said(erased)


def test_all_numbers_of_metrics_are_logged_by_flat_names():
    metrics = {
        "rmse": 0.9, "refit": True, "held_out": "newest", "top_k_accuracy": {"10": 0.5},
        "epochs": {"rating": [3.0, 2.0]},
        "intervals": {"rmse": [0.8, 1.0]}, "baselines": {"mean and biases": {"rmse": 0.95}}, "gate": ["worse"],
        "compared": {"popularity": [{"measure": "rmse", "new": 0.9, "rival": 1.0}]},
    }  # fmt: skip
    assert list(registry.figures_of(metrics)) == [
        ("rmse", 0.9, 0), ("top_k_accuracy/10", 0.5, 0), ("epochs/rating", 3.0, 0), ("epochs/rating", 2.0, 1),
        ("intervals/rmse/low", 0.8, 0), ("intervals/rmse/high", 1.0, 0), ("baselines/mean and biases/rmse", 0.95, 0),
        ("compared/popularity/rmse/new", 0.9, 0), ("compared/popularity/rmse/rival", 1.0, 0),
    ]  # fmt: skip


def test_mlflow_is_off_without_an_address(toy_models, monkeypatch, caplog):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    chosen = settings.load(paths={"models": str(toy_models)})
    registry.record(chosen, "anything", promoted=True)
    assert not caplog.messages
    with pytest.raises(UsageRejected, match="set mlflow.tracking_uri, or MLFLOW_TRACKING_URI"):
        registry.find(chosen, CHAMPION)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    assert registry.tracking_uri(chosen) == "http://mlflow.example"
    with monkeypatch.context() as patch:
        for name, value in registry.switched_off(os.environ).items():
            patch.setenv(name, value)
        patch.delenv("MLFLOW_TRACKING_URI")
        assert "MLFLOW_TRACKING_URI" not in registry.switched_off(os.environ)
        assert registry.tracking_uri(settings.load()) == ""
    monkeypatch.setitem(sys.modules, "mlflow", None)  # not installed
    registry.record(chosen, "anything", promoted=True)
    assert "install it with: pip install 'recmodel[mlflow]'): anything may be missing there; the command" in caplog.text
    with pytest.raises(UsageRejected, match="holds credentials"):
        settings.load(mlflow={"tracking_uri": "http://me:secret@mlflow.example"})
