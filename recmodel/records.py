"""Records: what run.json, metrics.json and manifest.json say, typed.

Each is read from what any version since 0.1.0 wrote: a field that an older version lacks has a default, and a field of
a newer version is kept. Only this module knows the names of the fields in the files.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, field_serializer

from recmodel.schemas import INTEGER_IDS, Ids

# The baselines that metrics.json compares a model with.
BIASES, POPULARITY = "mean and biases", "popularity"

# What users' interactions say: ratings, or only that there was something. See `data.feedback`.
FeedbackKind = Literal["explicit", "implicit"]
EXPLICIT: FeedbackKind = "explicit"
IMPLICIT: FeedbackKind = "implicit"

# Which rating of a user training holds out: the newest or, where times are not known, some one. See `evaluation.newest`
HeldOutKind = Literal["newest", "some"]
NEWEST: HeldOutKind = "newest"
SOME: HeldOutKind = "some"

# Where a model version comes from.
Origin = Literal["trained", "imported"]
TRAINED: Origin = "trained"
IMPORTED: Origin = "imported"

_NO_FILTERS = {"max_new", "opt_out"}  # rules: always set; decides who is served by the model

_Record = TypeVar("_Record", bound="Record")


class Record(BaseModel):
    """A JSON file with typed fields. `record["field"]` reads a field as it stands in the file."""

    model_config = ConfigDict(extra="allow", frozen=True)
    omit_none: ClassVar[bool] = False  # whether a field without a value is left out of the file

    @classmethod
    def parse(cls: type[_Record], content: bytes | str) -> _Record:
        """Read a record from the content of its file.

        Raises:
            ValueError: the content is not JSON, or a field has another type.
        """
        return cls.model_validate_json(content)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return self.model_dump(mode="json", exclude_none=self.omit_none)

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        return (json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n").encode()

    def __getitem__(self, field: str) -> Any:
        return self.to_json()[field]

    @field_serializer("*", when_used="json", check_fields=False)
    def _times_in_iso_format(self, value: Any) -> Any:
        return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


# -- run.json --------------------------------------------------------------------------------------------------------


class Figures(Record):
    """What a run recommends, in numbers."""

    rows: int = 0
    users: int = 0
    distinct_movies: int = 0
    mean_predicted_rating: float | None = None  # in stars; None where the model predicts no ratings
    popular_rows: int = 0  # served from popularity
    popular_users: int = 0
    new_rows: int = 0  # of movies that the model knows by genres and year only


class PredictedRatings(Record):
    """What the table `predicted_ratings` holds."""

    rows: int = 0


class SimilarMovies(Record):
    """What the table `similar_movies` holds."""

    rows: int = 0
    key: str = ""  # names all that decides them: the model, its movies and what may be recommended
    carried_from: date | None = None  # the run whose rows these are, as nothing that decides them has changed


class HitsOfRun(Record):
    """How an earlier run did, by the ratings that came since."""

    run_date: date  # of that run
    users: int  # who had a list and have rated something new since
    ratings: int  # that they have given
    hits: int
    liked_hits: int | None  # None where nobody says what they like
    recall_10: float
    ndcg_10: float
    popular_recall_10: float  # of what was popular when it was made
    popular_ndcg_10: float


class EarlierRun(Record):
    """The run whose lists an incremental run carries on."""

    run_id: str
    run_date: date


class InputFile(Record):
    """How one table of the input was read."""

    file: str  # or the folder of its files
    layout: str = ""  # such as "CSV with ;"
    parts: int | None = None  # number of files in a folder
    encoding: str = ""  # of text files
    assumptions: list[str] = []  # what the file itself does not say, and what was left out
    rows: int = 0
    rejected: int = 0

    def sentence(self) -> str:
        """Return all of it in one line."""
        layout = self.layout + (f" in {self.parts:,} file{'s' * (self.parts > 1)}" if self.parts else "")
        facts = [", ".join(filter(None, (layout, self.encoding))), *self.assumptions]
        return f"{self.file}: {'; '.join(facts)}; {self.rows:,} rows, {self.rejected:,} rejected"


class RunRecord(Record):
    """run.json: what a published run did, and with which model, input and settings."""

    run_id: str = ""
    run_date: date
    model_version: str
    model_address: str = ""  # by which MLflow named it, such as models:/recmodel@champion
    model_address_failure: str = ""  # why MLflow could not be asked, so that the address meant what it did last time
    finished_at: datetime = datetime.min.replace(tzinfo=timezone.utc)
    settings: dict[str, Any] = {}  # as they were; a section that came later is missing
    rank_by: str = "retrieval"
    all_users: bool = True  # False: only those of --users
    conditions: str = ""  # names all but the ratings that decides the lists; empty before there were incremental runs
    started_at: datetime | None = None
    ratings_file: str = ""
    as_of: datetime | None = None  # ratings after it were left out; None: the run used all that there were
    ratings_left_out: int = 0  # so many, which are not among rows_in
    newest_rating: datetime | None = None  # that was used; None where times are not known, or in versions before 0.3.2
    input: list[InputFile] = []  # how each file was read; empty in versions before 0.3.2
    rows_in: dict[str, int] = {}  # by file
    rows_used: dict[str, int] = {}
    rows_rejected: int = 0
    users_asked: int | None = None  # those of --users
    users_kept: int = 0  # others, whose lists of an earlier partial run of the date are published with this one's
    users_opted_out: int = 0  # of all: served from popularity because of `rules.opt_out`
    users_forgotten: int = 0  # erased since the run was published; the other counts are those of that time
    feedback: FeedbackKind = EXPLICIT  # of the model; implicit: there are no predicted ratings
    ids: Ids = INTEGER_IDS  # of the model, as in the tables; in versions before 0.3.2 always integers
    ratings_superseded: int = 0  # of the rejected rows, those that a later rating of the same movie replaced
    interactions_repeated: int = 0  # of the used rows of implicit feedback, those that add to another of their movie
    users_rated: int | None = None
    movies_allowed: int | None = None
    movies: int = 0  # in the model's catalogue
    movies_tonight: int | None = None  # in the input's, of which
    movies_new: int = 0  # the model does not know so many,
    movies_placed: int = 0  # of these, it places so many by genres and year
    movies_delisted: int = 0  # and lacks so many that the model knows
    users: int = 0
    users_scored: int | None = None
    carried_from: EarlierRun | None = None
    partitions: int = 0
    partitions_resumed: int = 0
    recommendations: Figures = Figures()
    predicted_ratings: PredictedRatings = PredictedRatings()
    similar_movies: SimilarMovies = SimilarMovies()
    hits: HitsOfRun | None = None  # of the full run before; None: there is none, or no rating since
    model_loads: int = 0
    slowest_model_load_seconds: float = 0.0
    peak_mib: dict[str, int] = {}  # by process: driver_python, driver_jvm, largest_worker
    seconds: dict[str, float] = {}  # by stage

    def __repr__(self) -> str:  # a notebook shows it; to_json() has everything
        return f"<RunRecord {self.run_date}: {self.users:,} users, model {self.model_version}>"

    __str__ = __repr__

    @property
    def top_n(self) -> int:
        """Recommendations per user that the run was asked for."""
        return self._scoring.get("top_n", 0)

    @property
    def incremental(self) -> bool:
        """Whether the run kept fingerprints of its users' ratings, so that a later run may carry on its lists."""
        return self._scoring.get("incremental", False)

    @property
    def active_rules(self) -> dict[str, Any]:
        """The business rules that filter something; runs of versions without rules have none."""
        rules = {name: rule for name, rule in self.settings.get("rules", {}).items() if name not in _NO_FILTERS}
        return {name: rule for name, rule in rules.items() if (any(rule.values()) if isinstance(rule, dict) else rule)}

    @property
    def noun(self) -> str:
        """What the rows of the input are called."""
        return "interactions" if self.feedback == IMPLICIT else "ratings"

    def is_comparable_with(self, other: RunRecord) -> bool:
        """Return whether both runs were made in the same way, so that their figures can be compared."""
        return self._way == other._way

    @property
    def _way(self) -> tuple[Any, ...]:
        return self.all_users, self.rank_by, self.top_n, self.active_rules, self.feedback

    @property
    def data_path(self) -> str:
        """Where the run found its ratings, as `--data` has it."""
        return self.settings["paths"]["data"]

    @property
    def models_path(self) -> str:
        """Where the run found its model."""
        return self.settings["paths"]["models"]

    @property
    def _scoring(self) -> dict[str, Any]:
        return self.settings.get("scoring", {})


# -- metrics.json ----------------------------------------------------------------------------------------------------


class Measures(Record):
    """How good a model or a baseline is on held-out ratings; a task that it doesn't do has None or no entries."""

    omit_none: ClassVar[bool] = True

    rmse: float | None = None  # in stars, as are the next two
    mae: float | None = None
    calibration_error: float | None = None
    top_k_accuracy: dict[str, float] | None = (
        None  # by k: share of held-out pairs found among the first k of all movies
    )
    top_k_accuracy_unseen: dict[str, float] | None = None  # the same without the movies that the user had rated
    # Of the movies that the user had not rated: NDCG of the first 10 by retrieval score; and, of the users who liked
    # the held-out movie, NDCG of the first 10 as they are published. None in versions before 0.3.2.
    ndcg_at_10: float | None = None
    ndcg_at_10_liked: float | None = None
    intervals: dict[str, tuple[float, float]] | None = None  # 95 %, by the names of fields above

    @property
    def accuracy_at_100(self) -> float | None:
        """The share of held-out pairs among the user's first 100 unseen movies; None where it was not measured."""
        return (self.top_k_accuracy_unseen or {}).get("100")


# What the gate judges, by the names of the fields.
MEASURES = {"ndcg_at_10": "NDCG@10", "ndcg_at_10_liked": "NDCG@10 of liked movies", "rmse": "RMSE"}


class Difference(Record):
    """A new model compared with a rival, by a measure of the same held-out ratings."""

    measure: str  # the name of a field of `Measures`
    new: float
    rival: float
    low: float  # the ends of the 95 % interval of new - rival
    high: float
    allowed: float  # by so much the new model may be worse

    @property
    def is_worse(self) -> bool:
        """Whether the new model is worse by more than is allowed, and not by chance."""
        if self.measure == "rmse":
            return self.new - self.rival > self.allowed and self.low > 0
        return self.rival - self.new > self.allowed and self.high < 0


class Metrics(Measures):
    """metrics.json: how training went, and how good the model is."""

    train_rows: int = 0
    epochs: dict[str, list[float]] = {}  # mean loss of each epoch, by task
    start_seconds: float = 0.0  # of the closed form
    epoch_seconds: list[float] = []
    examples_per_second: int = 0
    test_rows: int = 0  # held out
    measured_users: int | None = None  # that the measures are of
    held_out: HeldOutKind | None = None  # which of their ratings; None in versions before 0.3.2: a share of all ratings
    refit: bool = False  # whether what serves was fitted again, to the held-out ratings too, after it was measured
    refit_rows: int | None = None  # to so many ratings in all
    opted_out_rows: int = 0  # ratings of users who have opted out, which it was not trained with
    left_out_rows: int = 0  # ratings of users whom training.max_ratings left out
    superseded_rows: int = 0  # ratings that a later one of the same user and movie replaced
    baselines: dict[str, Measures] | None = None  # by name, on the same held-out ratings
    compared: dict[str, list[Difference]] | None = None  # with baselines and the version that was current, by name
    gate: list[str] | None = None  # why the model must not become the current one; None where nobody asked
    ratings_file: str | None = None  # that the model was trained on; None in versions before 0.3.2
    ratings_bytes: int | None = None

    @property
    def input_rows(self) -> int:
        """The ratings that training read and could use, also those that it left out or that are superseded."""
        used = self.train_rows + self.test_rows
        return used + self.superseded_rows + self.opted_out_rows + self.left_out_rows


# -- manifest.json ---------------------------------------------------------------------------------------------------


class HeldOut(Record):
    """Which ratings the measured model was not fitted to: one of each of some users."""

    kind: HeldOutKind
    users_up_to: float  # those whose hash is at most that; see `evaluation.newest`


class Manifest(Record):
    """manifest.json: what a model version is, and the sha256 of each of its files."""

    format_version: int
    created_at: datetime = datetime.min.replace(tzinfo=timezone.utc)
    preset: str = ""
    tasks: tuple[str, ...] = ()  # of 'retrieval' and 'rating'
    feedback: FeedbackKind = EXPLICIT  # that the model was trained on; in versions before 0.3.2 always ratings
    ids: Ids = INTEGER_IDS  # in versions before 0.3.2 always integers
    settings: dict[str, Any] = {}
    data_fingerprint: str = ""
    newest_rating: datetime | None = None  # that the model has seen, held-out ones included; None where not known
    held_out: HeldOut | None = None  # None: nothing, or in versions before 0.3.2 a share of all ratings
    libraries: dict[str, str] = {}
    git_commit: str | None = None
    signatures: tuple[str, ...] = ()  # of the SavedModel; empty in versions before 0.3.2
    origin: Origin = TRAINED  # imported: it was trained elsewhere, on ratings that are not known here
    files: dict[str, str]  # sha256 by path
