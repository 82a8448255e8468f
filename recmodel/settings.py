"""Settings: `conf/settings.yaml`, overridden by environment variables, overridden by flags; validated and frozen."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from recmodel import storage
from recmodel.data.addresses import is_address
from recmodel.data.limits import Input
from recmodel.data.sample import SAMPLE
from recmodel.errors import UsageRejected
from recmodel.schemas import Id
from recmodel.scoring import policies

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "conf"  # in a checkout a link to the project's
_PREFIX = "RECMODEL_"
# What `nightly` tells its hooks, each in a variable with the prefix.
HOOK_FACTS = ("outcome", "exit_code", "step", "message", "date", "output", "log", "logs", "environment")
_NO_SETTINGS = {f"{_PREFIX}{name.upper()}" for name in ("conf", "spark_log", "night_log", "shared_tmpdir", *HOOK_FACTS)}

# Settings of earlier versions that mean something else now, and what to set instead.
_GONE = {
    "training.gate.accuracy": "training.gate.max_ndcg_loss, a share of the other's NDCG@10",
    "training.gate.rmse": "training.gate.max_rmse_loss, a share of the rating scale's width",
}

PredictedRatings = Literal["top-n", "all"]


def _anchored(place: str) -> str:
    """Make a path absolute: a relative one starts at `root`, so that cron may call from anywhere."""
    if is_address(place):
        return place
    storage.refuse_credentials(place)
    storage.refuse_undecodable(place)
    return place if place in ("", SAMPLE) or storage.is_uri(place) else str(root() / place)


_Place = Annotated[str, AfterValidator(_anchored)]


def _ranking_policy(name: str) -> str:
    """Return the name if it is `auto` or that of a ranking policy; otherwise raise ValueError."""
    return name if name == policies.AUTO else policies.named(name).name


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Paths(_Section):
    """Where things are, as absolute paths or URIs."""

    data: _Place
    models: _Place
    output: _Place
    logs: _Place
    evaluation: _Place
    backtest: _Place
    sample: _Place


class Gate(_Section):
    """By how much a new model may be worse than the current one."""

    max_ndcg_loss: float = Field(ge=0)
    max_rmse_loss: float = Field(ge=0)

    @model_validator(mode="before")
    @classmethod
    def _has_no_old_names(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if instead := _GONE.get(f"training.gate.{name}"):
                raise ValueError(f"{name} is no setting any more; there is {instead}")
        return values


class Training(_Section):
    """When a model is trained, and how, apart from its preset."""

    preset: str
    presets: _Place = ""  # a file of one's own; empty: none
    seed: int = Field(ge=0, lt=2**32)
    test_share: float = Field(ge=0, lt=1)
    max_ratings: int = Field(ge=0)
    max_age_days: float = Field(ge=0)
    max_growth: float = Field(ge=0)
    max_new: float = Field(ge=0)
    max_new_ratings: float = Field(ge=0)
    refit: bool
    gate: Gate


class Scoring(_Section):
    """What is recommended, and how the work is divided."""

    top_n: int = Field(ge=1)
    reserve: int = Field(ge=0)
    valid_days: int = Field(ge=0)
    rank_by: Annotated[str, AfterValidator(_ranking_policy)]
    candidates: int = Field(ge=1)
    include_seen: bool
    predicted_ratings: PredictedRatings
    min_history: int = Field(ge=0)
    incremental: bool
    users_per_task: int = Field(ge=1)
    block_mib: int = Field(ge=1)

    @model_validator(mode="after")
    def _carries_lists_only(self) -> Scoring:
        if self.incremental and self.predicted_ratings == "all":
            raise ValueError("incremental runs carry no matrix of ratings; choose one of incremental and all")
        return self


def _not_reversed(years: int | str) -> int | str:
    first, _, last = str(years).partition("..")
    if first and last and last < first:
        raise ValueError(f"the range ends before it begins; swap its years: {last}..{first}")
    return years


# A year, or a range such as 1990..1999; either end may be left out.
_OneYear = Annotated[int, Field(ge=1000, le=9999)]
_RangeOfYears = Annotated[str, Field(pattern=r"^(\d{4})?\.\.(\d{4})?$")]
Years = Annotated[_OneYear | _RangeOfYears, AfterValidator(_not_reversed)]


class Selection(_Section):
    """A part of the catalogue, by lists; an empty list is no filter."""

    genres: list[str]
    years: list[Years]
    movies: list[Id]


class Rules(_Section):
    """What may be recommended, whatever its score."""

    allow: Selection
    deny: Selection
    min_ratings: int = Field(ge=0)
    max_per_genre: int = Field(ge=0)
    max_new: float = Field(ge=0, le=1)
    deny_pairs: _Place
    opt_out: _Place


class Checks(_Section):
    """How far a run may differ from the last one and still be published."""

    max_user_loss: float = Field(ge=0, le=1)
    max_coverage_change: float = Field(ge=0)
    max_rating_shift: float = Field(ge=0)


class Retention(_Section):
    """How much is kept, and for how long."""

    run_dates: int = Field(ge=1)
    models: int = Field(ge=2)
    log_days: int = Field(ge=1)


class Monitoring(_Section):
    """Who else hears how a night ended."""

    environment: str
    json_logs: bool
    textfile: str
    hook: str
    hook_on: list[Literal["failure", "findings", "success"]]
    on_failure: str
    max_step_hours: float = Field(ge=0)


def _without_credentials(uri: str) -> str:
    storage.refuse_credentials(uri)
    return uri


class MLflow(_Section):
    """Where versions are logged and registered, if anywhere, and by which names."""

    tracking_uri: Annotated[str, AfterValidator(_without_credentials)]
    experiment: str = Field(min_length=1)
    model: str = Field(pattern=r"^[^/:@'\"]+$")
    alias: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    page: bool
    model_version: str = Field(pattern=r"^(models:/[^/@]+(@[^/@]+|/[0-9]+))?$")


class Settings(BaseSettings):
    """All settings of a run. Build it with `load`."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", nested_model_default_partial_update=True, frozen=True
    )

    paths: Paths
    input: Input
    training: Training
    scoring: Scoring
    rules: Rules
    checks: Checks
    retention: Retention
    monitoring: Monitoring
    mlflow: MLflow

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        files = [folder / "settings.yaml" for folder in (conf_dir(), _SHIPPED)]
        return init_settings, env_settings, *(YamlConfigSettingsSource(settings_cls, file) for file in files)


def absolute_data(data: str) -> str:
    """Return what `--data` takes, independent of the working directory: a path is made absolute."""
    return data if data == SAMPLE or is_address(data) else storage.absolute(data)


def conf_dir() -> Path:
    """Return the folder of settings: $RECMODEL_CONF, or else the one that comes with the package.

    Raises:
        UsageRejected: it has no settings.yaml.
    """
    chosen = Path(os.environ.get("RECMODEL_CONF") or _SHIPPED)
    if not (chosen / "settings.yaml").is_file():
        raise UsageRejected(f"no settings.yaml in {chosen}; set RECMODEL_CONF to a folder like `conf` of the project")
    return chosen.resolve()


def conf_file(name: str) -> Path:
    """Return a file of `conf_dir`, or else the one that comes with the package."""
    own = conf_dir() / name
    return own if own.exists() else shipped(name)


def shipped(name: str) -> Path:
    """Return a file of the conf that comes with the package."""
    return _SHIPPED / name


def root() -> Path:
    """Return where relative paths start: above `conf_dir`, or the working directory if that is inside the package."""
    above = conf_dir().parent
    return Path.cwd() if above == _PACKAGE else above


def load(**flags: Any) -> Settings:
    """Load the settings of this run: flags beat environment variables, which beat conf/settings.yaml.

    Args:
        flags: sections with the values given on the command line, such as `scoring={"top_n": 20}`;
            a value of None means that the flag was not given.

    Raises:
        UsageRejected: a value that is missing, unknown or out of its range, or an environment variable that looks
            like a setting and is none; names it.
    """
    _refuse_unknown_variables()
    sections: dict[str, Any] = {
        section: {field: value for field, value in values.items() if value is not None}
        for section, values in flags.items()
    }
    try:
        return Settings(**sections)
    except ValidationError as error:
        source = _source(tuple(map(str, error.errors()[0]["loc"])), sections)
        raise UsageRejected(f"setting {first_error(error)}; correct {source}") from None
    except (SettingsError, yaml.YAMLError, ValueError, OSError) as error:  # a source that cannot be parsed at all
        raise UsageRejected(_unreadable_source(error)) from None


def load_with(flags: Mapping[str, Any], *sections: str) -> Settings:
    """Load the settings, with the flags of a command for the fields of some sections (paths, input, …).

    Raises:
        UsageRejected: see `load`.
    """
    classes: dict[str, type[BaseModel]] = {"paths": Paths, "input": Input, "training": Training, "scoring": Scoring}
    return load(
        **{name: {flag: flags[flag] for flag in classes[name].model_fields if flag in flags} for name in sections}
    )


def _refuse_unknown_variables() -> None:
    known = {*_variables(Settings)}
    for variable in os.environ:
        name = variable.upper().removeprefix(_PREFIX)
        if variable.upper().startswith(_PREFIX) and name not in known and variable.upper() not in _NO_SETTINGS:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {_PREFIX}{near[0]}?" if near else "unset it"
            if instead := _GONE.get(name.lower().replace("__", ".")):
                hint = f"there is {instead}"
            raise UsageRejected(f"the environment variable {variable} sets nothing; {hint}")


def _source(setting: tuple[str, ...], flags: Mapping[str, Mapping[str, Any]]) -> str:
    """Return where the value of a setting, given by the names on the way to it, comes from."""
    if len(setting) > 1 and setting[1] in flags.get(setting[0], {}):
        return f"--{setting[1].replace('_', '-')}"
    upper = {variable.upper(): variable for variable in os.environ}
    for length in range(len(setting), 0, -1):
        name = f"{_PREFIX}{'__'.join(setting[:length])}".upper()
        if name in upper:
            return f"the environment variable {upper[name]}"
    return str(conf_dir() / "settings.yaml")


def _unreadable_source(error: Exception) -> str:
    """Return a sentence about the environment variable or the file that cannot be parsed."""
    upper = {variable.upper(): (variable, value) for variable, value in os.environ.items()}
    for name, field in _variables(Settings).items():
        variable, value = upper.get(f"{_PREFIX}{name}", ("", ""))
        is_list = get_origin(field.annotation) is list
        if variable and (is_list or _section(field)):
            try:
                json.loads(value)
            except ValueError:
                example = '["a", "b"]' if is_list else '{"name": "value"}'
                shown = f": {value!r}" if is_list else ""  # a whole section may hold a hook, and so its secrets
                return f"the environment variable {variable} is not JSON{shown}; write it like {example}"
    mark = getattr(error, "problem_mark", None)  # of YAML's errors, which would repeat the line with its secrets
    what = f"{getattr(error, 'problem', '')}, line {mark.line + 1}" if mark else str(error)
    reason = " ".join(what.split())[:200]
    return f"{conf_dir() / 'settings.yaml'} is not YAML with sections of settings ({reason}); correct it"


def origins() -> dict[str, str]:
    """Return the source and the default of each setting that is not the package's default, by dotted name."""
    defaults, own = (
        _flat(YamlConfigSettingsSource(Settings, folder / "settings.yaml")()) for folder in (_SHIPPED, conf_dir())
    )
    variables = _flat(EnvSettingsSource(Settings)())
    sources = {}
    for name in {**own, **variables}:
        default = f"the default is {defaults.get(name)}"
        if name in variables:
            sources[name] = f"environment variable {_PREFIX}{name.upper().replace('.', '__')}; {default}"
        elif own[name] != defaults.get(name):
            sources[name] = f"{conf_dir() / 'settings.yaml'}; {default}"
    return sources


def first_error(error: ValidationError) -> str:
    """Return the first mistake that pydantic found: the field, what is wrong, and the value."""
    first = error.errors()[0]
    wrong = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"]
    return f"{'.'.join(str(part) for part in first['loc'])}: {wrong} (got {first['input']!r})"


def as_yaml(settings: Settings) -> Iterator[str]:
    """Yield the settings as lines of YAML; a comment names the source of each value that is not the default."""
    yield from _yaml_lines(settings.model_dump(mode="json"), origins())


def _yaml_lines(values: dict[str, Any], sources: dict[str, str], prefix: str = "") -> Iterator[str]:
    margin = "  " * prefix.count(".")
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"{margin}{name}:"
            yield from _yaml_lines(value, sources, f"{prefix}{name}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
            line = f"{margin}{name}: " + text.removesuffix("...\n").strip()
            source = sources.get(f"{prefix}{name}")
            yield f"{line}  # {source}" if source else line


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """Return the class of a field that is a section; None for a single setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _variables(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Return the environment variables, without RECMODEL_, that set a field, or a section as JSON."""
    found = {}
    for name, field in model.model_fields.items():
        found[f"{prefix}{name.upper()}"] = field
        section = _section(field)
        if section:
            found |= _variables(section, f"{prefix}{name.upper()}__")
    return found


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested sections as one dictionary of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
