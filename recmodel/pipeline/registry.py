"""Registry: model versions in MLflow. They are logged and registered there, and taken from there; all of it optional.

What is logged is what the files of a version say, so any version can be logged at any time. MLflow is imported only
where it is configured. If it fails, that is a warning, and in a night a finding: it costs neither a training nor, once
a version has been taken from it, a night.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from recmodel import storage
from recmodel.errors import ModelRejected, RecmodelError, UsageRejected
from recmodel.formatting import clipped
from recmodel.models import versions
from recmodel.models.versions import ModelVersion
from recmodel.progress import FINDINGS_SUFFIX, NOTICE, leave_for_the_night, log
from recmodel.records import Manifest, Metrics
from recmodel.settings import MLflow, Settings

ADDRESS = "models:/"  # how what is in a registry begins
PAGE = "report.html"
_ALIASED, _NUMBERED = re.compile(r"models:/([^/@]+)@([^/@]+)"), re.compile(r"models:/([^/@]+)/([0-9]+)")
_VERSION_TAG = "recmodel_version"  # of a registered version and its run: the name of ours
_FOLDER = "version"  # of a run's artifacts
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_MOST_METRICS, _LONGEST = 1000, 5000  # in one request; characters of a tag or a parameter
_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the latter where it is an alias

# MLflow asks for minutes where a server does not answer, draws bars, and tells its makers how it is used.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


def tracking_uri(settings: Settings) -> str:
    """Return where MLflow is: the setting, or else MLFLOW_TRACKING_URI; empty: nowhere, so all of this is off."""
    return settings.mlflow.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")


# -- to MLflow ---------------------------------------------------------------------------------------------------------


def record(settings: Settings, version: str, *, promoted: bool) -> None:
    """Log and register a version unless it is there already; if it was made current, let the alias name it.

    Nothing happens where MLflow is off. Any failure is a warning.
    """
    if not tracking_uri(settings):
        return
    remedy = f"the command models promote {version} does it later" if promoted else "nothing else depends on it"
    with _failing_softly(f"{version} may be missing there; {remedy}"):
        mlflow = _open(settings)
        there, named = mlflow.find(version), ""
        verb = "is" if there else "became"
        number = there.number if there else mlflow.register(versions.open_version(settings.paths.models, version))
        if promoted:
            mlflow.client.set_registered_model_alias(mlflow.names.model, mlflow.names.alias, number)
            named = f", which {mlflow.names.alias} names now"
        log.log(NOTICE, "MLflow: %s %s version %s of %s%s", version, verb, number, mlflow.names.model, named)


def add_page(settings: Settings, version: str, page: storage.Location) -> None:
    """Add the page of a run to its version in MLflow, in place of that of an earlier run.

    Nothing happens where MLflow, or `mlflow.page`, is off. Any failure is a warning.
    """
    if not tracking_uri(settings) or not settings.mlflow.page:
        return
    consequence = "the page there, if any, is an earlier one; the command report renews it"
    with _failing_softly(consequence), tempfile.TemporaryDirectory() as scratch:
        mlflow = _open(settings)
        there = mlflow.find(version)
        if there is None:
            log.log(NOTICE, "MLflow does not have %s, so the page is not there either", version)
            return
        copy = Path(scratch, PAGE)
        copy.write_bytes(storage.read(page) or b"")
        mlflow.client.log_artifact(there.run_id, str(copy))
        log.info("MLflow: the page is in the run of version %s of %s", there.number, mlflow.names.model)


class _Registered(NamedTuple):
    number: str  # of the version in MLflow's registry
    run_id: str


@dataclass(frozen=True)
class _MLflow:
    """A client of MLflow, and the names that are used there."""

    client: Any  # mlflow.MlflowClient
    uri: str
    names: MLflow

    def find(self, version: str) -> _Registered | None:
        """Return what one of our versions is there; None if it is not."""
        for found in self.client.search_model_versions(f"name = '{self.names.model}'"):
            if found.tags.get(_VERSION_TAG) == version:
                return _Registered(found.version, found.run_id)
        return None

    def register(self, version: ModelVersion) -> str:
        """Log a version as a run and register it; return its number. It is there only once all of its files are."""
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException

        manifest, metrics = version.manifest, version.metrics()
        tags, now = tags_of(version.name, manifest, metrics), int(1000 * time.time())
        experiment = self.client.get_experiment_by_name(self.names.experiment)
        place = experiment.experiment_id if experiment else self.client.create_experiment(self.names.experiment)
        run = self.client.create_run(place, run_name=version.name, tags=tags).info
        try:
            parameters = [Param(name, value) for name, value in parameters_of(manifest).items()]
            self.client.log_batch(run.run_id, params=parameters)
            figures = [Metric(name, value, now, step) for name, value, step in figures_of(metrics.to_json())]
            for first in range(0, len(figures), _MOST_METRICS):
                self.client.log_batch(run.run_id, metrics=figures[first : first + _MOST_METRICS])
            self.client.log_artifacts(run.run_id, str(version.path), _FOLDER)
            try:
                self.client.create_registered_model(self.names.model)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            source = f"{run.artifact_uri}/{_FOLDER}"
            number = self.client.create_model_version(self.names.model, source, run.run_id, tags=tags).version
        except BaseException:
            self.client.update_run(run.run_id, status="FAILED")
            raise
        self.client.update_run(run.run_id, status="FINISHED")
        return str(number)


def tags_of(version: str, manifest: Manifest, metrics: Metrics) -> dict[str, str]:
    """Return what is said of a version in words."""
    gate = "not asked" if metrics.gate is None else "; ".join(metrics.gate) or "passed"
    tags = {
        _VERSION_TAG: version,
        "preset": manifest.preset,
        "origin": manifest.origin,
        "gate": gate,
        "data_fingerprint": manifest.data_fingerprint,
        "mlflow.source.git.commit": manifest.git_commit or "",
    }
    return {name: value[:_LONGEST] for name, value in tags.items() if value}


def parameters_of(manifest: Manifest) -> dict[str, str]:
    """Return the fields of the preset and the settings of training, by dotted names."""
    named = dict(_dotted(manifest.settings))
    return {name: str(value)[:_LONGEST] for name, value in named.items()}


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def figures_of(metrics: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float, int]]:
    """Yield (name, number, step) of all that metrics.json says in numbers.

    Names of what is inside something are joined by slashes: `baselines/popularity/ndcg_at_10`,
    `intervals/ndcg_at_10/low`, `compared/popularity/rmse/rival`. A list has a step for each of its numbers.
    """
    for key, value in metrics.items():
        name = above + re.sub(r"[^\w. :-]", "_", key)
        if isinstance(value, Mapping):
            if key == "intervals":
                value = {measure: {"low": low, "high": high} for measure, (low, high) in value.items()}
            yield from figures_of(value, f"{name}/")
        elif isinstance(value, list):
            for step, one in enumerate(value):
                if isinstance(one, Mapping):  # a `Difference`
                    yield from figures_of(one, f"{name}/{one['measure']}/")
                elif _is_number(one):
                    yield name, float(one), step
        elif _is_number(value):
            yield name, float(value), 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# -- from MLflow -------------------------------------------------------------------------------------------------------


class Named(NamedTuple):
    """A version below MODELS, and how it was named."""

    name: str | None  # None: CURRENT
    address: str = ""  # in MLflow; empty: it was not named by one
    failure: str = ""  # why MLflow could not be asked, so that the address means what it did last time


def find(settings: Settings, version: str | None) -> Named:
    """Return which version below MODELS `--model-version` means; what MLflow has is copied there once.

    Args:
        version: a name, `models:/NAME@ALIAS` or `models:/NAME/NUMBER`; None: what the setting says, or CURRENT.

    Raises:
        UsageRejected: it is no such address, or MLflow is not configured or not installed.
        ModelRejected: MLflow does not have it; or it cannot be had, and never could.
    """
    version = version or settings.mlflow.model_version or None
    if version is None or not version.startswith(ADDRESS):
        return Named(version)
    if not (_ALIASED.fullmatch(version) or _NUMBERED.fullmatch(version)):
        raise UsageRejected(f"{version} names no model version; write models:/NAME@ALIAS or models:/NAME/NUMBER")
    if not tracking_uri(settings):
        raise UsageRejected(f"{version} is in MLflow: set mlflow.tracking_uri, or MLFLOW_TRACKING_URI, to its address")
    models = settings.paths.models
    try:
        name = _bring(_open(settings), models, version)
    except UsageRejected:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is: the version of last time is here
        if getattr(error, "error_code", None) in _NOT_THERE:
            raise ModelRejected(f"MLflow has no {version} ({_reason(error)}); register one, or name another") from None
        last = versions.taken_from(models).get(version)
        if last is None:
            raise ModelRejected(
                f"{version} cannot be had from MLflow ({_reason(error)}), and none was before; see to it that MLflow "
                "answers, or name a version of --models"
            ) from None
        reason = _reason(error)
        log.warning("%s cannot be had from MLflow (%s); it is taken to be %s, as last time", version, reason, last)
        return Named(last, version, reason)
    versions.note_taken(models, version, name)
    return Named(name, version)


def _bring(mlflow: _MLflow, models: storage.Location, address: str) -> str:
    """Return the name of a version after copying it to `models`, if it is not there."""
    from mlflow import artifacts

    if aliased := _ALIASED.fullmatch(address):
        found = mlflow.client.get_model_version_by_alias(*aliased.groups())
    else:
        found = mlflow.client.get_model_version(*_NUMBERED.fullmatch(address).groups())  # type: ignore[union-attr]
    name = found.tags.get(_VERSION_TAG, "")
    if not _NAME.fullmatch(name):
        raise ModelRejected(f"version {found.version} of {found.name} was not registered by the command train")
    if name in versions.list_versions(models):
        log.log(NOTICE, "%s is version %s, which is %s", address, found.version, name)
        return name
    with versions.scratch_next_to(models) as scratch:
        source = mlflow.client.get_model_version_download_uri(found.name, found.version)
        got = artifacts.download_artifacts(artifact_uri=source, dst_path=str(scratch), tracking_uri=mlflow.uri)
        versions.take_over(models, Path(got).rename(scratch / name))
    log.log(NOTICE, "%s is version %s, which is %s; it was copied to %s", address, found.version, name, models)
    return name


def switched_off(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command that is to know nothing of MLflow, as what it trains is thrown away."""
    kept = {name: value for name, value in environment.items() if name != "MLFLOW_TRACKING_URI"}
    return kept | {"RECMODEL_MLFLOW__TRACKING_URI": "", "RECMODEL_MLFLOW__MODEL_VERSION": ""}


# -- MLflow ------------------------------------------------------------------------------------------------------------


def _open(settings: Settings) -> _MLflow:
    """Return a client of MLflow.

    Raises:
        UsageRejected: it is not installed.
    """
    for variable, value in _DEFAULTS.items():
        os.environ.setdefault(variable, value)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise UsageRejected(
            f"MLflow needs the package {error.name}; install it with: pip install 'recmodel[mlflow]'"
        ) from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    uri = tracking_uri(settings)
    return _MLflow(MlflowClient(tracking_uri=uri), uri, settings.mlflow)


@contextmanager
def _failing_softly(consequence: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it says nothing about the version
        sentence = f"MLflow failed ({_reason(error)}): {consequence}"
        log.warning("%s", sentence)
        leave_for_the_night(sentence, FINDINGS_SUFFIX)


def _reason(error: Exception) -> str:
    """Say in some words what failed."""
    if isinstance(error, RecmodelError):
        return str(error)
    cause: BaseException | None = error
    while cause is not None:
        url = getattr(getattr(cause, "request", None), "url", "")
        if url and getattr(cause, "response", None) is None:  # of requests, when nothing came back
            return f"no answer from {urlsplit(url).scheme}://{urlsplit(url).netloc.rpartition('@')[2]}"
        cause = cause.__cause__ or cause.__context__
    return clipped(str(error) or type(error).__name__, 200)
