"""Backtest: nights of the past are replayed as of their dates and held against the ratings that came after them.

As on such a night, a model is trained when that is due, by the function that `train` calls, with the ratings up to
then; and lists are made by the functions that Spark's workers run. Only users who have rated since are measured, so
only they get lists, in this process. What a night has come to is kept, and the same command goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recmodel import dates, formatting, storage
from recmodel import schemas as c
from recmodel.data.catalogue import combine
from recmodel.dates import Every
from recmodel.errors import UsageRejected
from recmodel.evaluation import hits, replayed
from recmodel.models import presets, versions
from recmodel.models.architectures import Preset
from recmodel.pipeline import business_rules, due, kept_nights, past_nights, preflight, train
from recmodel.pipeline.hits import MOST_USERS
from recmodel.pipeline.past_nights import Input, Night, Serving, outcomes_of
from recmodel.progress import NOTICE, Stages, log, unrepeated
from recmodel.records import POPULARITY, Record
from recmodel.scoring import policies, popularity
from recmodel.settings import Settings
from recmodel.version import __version__

_KEY, _BASELINES = "key.json", ".baselines"
_OF_SPARK = {"incremental", "users_per_task", "block_mib", "reserve", "valid_days", "predicted_ratings", "rank_by"}


@dataclass(frozen=True)
class Request:
    """What to replay."""

    first: date
    last: date
    every: Every  # from night to night
    preset_names: tuple[str, ...]
    rank_by: tuple[str, ...] = ()  # ranking policies; empty: that of the settings
    horizon: Every | None = None  # how long after a night ratings are held against it; None: until the next one
    train_every: Every | None = None  # None: when it is due, as `nightly` decides it


@dataclass(frozen=True)
class Backtest:
    """What came out; also written to the output folder."""

    nights: pd.DataFrame  # `schemas.BACKTEST`
    methods: pd.DataFrame  # see `replayed.by_method`
    trainings: dict[str, int]  # by preset
    notes: list[str]  # what was assumed and what was left out, a sentence each


class NightRecord(Record):
    """What is kept of a night of a preset, next to the outcomes of its users."""

    night: date
    trained_on: date | None = None  # the night as of which the model in use was trained; None: of the baselines
    version: str = ""  # its name
    ratings_seen: int = 0  # ratings there were when it was trained
    reason: str = ""  # why a model was trained on this night; empty: none was


def run(
    settings: Settings, request: Request, folder: Path, stages: Stages | None = None, *, trainings: int | None = None
) -> Backtest | None:
    """Replay nights; write backtest.json and backtest.parquet to `folder`.

    Args:
        trainings: how many models this process may train, as each leaves memory behind; None: no limit.

    Returns:
        None if that was not enough: another process is to go on.

    Raises:
        AnotherRun: another backtest writes to the folder.
        InputRejected: see `movielens`; or the ratings have no times.
        ModelRejected: training diverged.
        UsageRejected: there is nothing to replay, no preset of that name, or a ranking policy that none can be asked
            for.
    """
    stages = stages or Stages()
    preflight.check(settings, output=str(folder))
    with kept_nights.locked(folder):
        with stages("read ratings and movies"):
            found = past_nights.read(settings)
        notes: list[str] = []
        days = _days(request, found, notes)
        players = _players(settings, request, found, folder / kept_nights.FOLDER, notes)
        if not _replay(settings, request, found, days, players, stages, trainings):
            return None
        outcomes = _outcomes(players, days)
        if not len(outcomes):
            raise UsageRejected(f"nobody has rated anything new after the nights of {days[0]} to {days[-1]}")
        notes += _notes(found, request, days, outcomes)
        result = _result(request, outcomes, players, days, notes)
        _write(result, request, folder)
    return result


# -- what is replayed ----------------------------------------------------------------------------------------------


def _days(request: Request, found: Input, notes: list[str]) -> list[date]:
    """Return the nights to replay: those that there are ratings before and after.

    Raises:
        UsageRejected: there is no such night, or no rating by the first one.
    """
    oldest, newest = found.ends
    if request.first < oldest:
        raise UsageRejected(
            f"there is nothing to train on by {request.first}, as the ratings begin on {oldest}; begin later"
        )
    days = request.every.dates(request.first, request.last)
    replayable = [day for day in days if day < newest]
    if not replayable:
        raise UsageRejected(f"no rating is later than {request.first}, as they end on {newest}; begin earlier")
    if len(replayable) < len(days):
        left = f"{replayable[-1]} is the last night that is replayed, as the ratings end on {newest}"
        notes.append(f"{left}; {len(days) - len(replayable)} later ones are left out.")
    elif _until(request, days[-1]) > newest:
        notes.append(f"The ratings end on {newest}, so the last night, {days[-1]}, is held against fewer days.")
    return replayable


def _until(request: Request, day: date) -> date:
    """Return the last day whose ratings are held against a night."""
    return (request.horizon or request.every).after(day)


# -- who is compared -----------------------------------------------------------------------------------------------


@dataclass
class _Player:
    """A preset with its ranking policies, or without a preset the baselines; and what is kept of it."""

    name: str  # of the preset; empty: the baselines
    preset: Preset | None
    policies: tuple[str, ...]
    folder: Path
    nights: dict[date, NightRecord] = field(default_factory=dict)  # those that are done

    @property
    def models(self) -> str:
        """Where its model versions are."""
        return str(self.folder / kept_nights.MODELS)

    def outcomes(self, day: date) -> pd.DataFrame:
        """Return what a night came to, by user."""
        return pq.read_table(self._files(day)[0]).to_pandas()

    def keep(self, record: NightRecord, outcomes: pd.DataFrame) -> None:
        """Keep what a night came to."""
        rows, file = self._files(record.night)
        storage.write_rows(rows, pa.Table.from_pandas(outcomes, preserve_index=False))
        storage.write(file, record.to_bytes())  # last: with it the night is done
        self.nights[record.night] = record

    def open(self, key: dict[str, str], days: list[date]) -> None:
        """Find what is kept under a key, nights without a gap from the first on; remove what is kept under another."""
        who = self.name or "the baselines"
        kept = storage.read(self.folder / _KEY)
        before = None if kept is None else _Key.parse(kept).decides
        if before is not None and before != key:
            names = [name for name in {**key, **before} if key.get(name) != before.get(name)]
            log.log(NOTICE, "the nights of %s are replayed anew, as other %s decide them now", who, " and ".join(names))
            shutil.rmtree(self.folder)
        storage.write(self.folder / _KEY, _Key(decides=key).to_bytes())
        for day in days:
            content = storage.read(self._files(day)[1])
            if content is None:
                break
            self.nights[day] = NightRecord.parse(content)
        if self.nights:
            log.log(NOTICE, "%d of %d nights of %s are kept from before", len(self.nights), len(days), who)

    def _files(self, day: date) -> tuple[Path, Path]:
        return self.folder / f"{day}.parquet", self.folder / f"{day}.json"


class _Key(Record):
    decides: dict[str, str]  # digests of all that decides what comes out, by what it is


def _players(settings: Settings, request: Request, found: Input, folder: Path, notes: list[str]) -> list[_Player]:
    """Return the presets and the baselines.

    Raises:
        UsageRejected: no preset of that name, or it is trained for none of the ranking policies.
    """
    players = []
    for name in request.preset_names:
        preset = presets.for_feedback(presets.load(name, settings.training.presets), name, found.feedback.kind)
        wanted = request.rank_by or (settings.scoring.rank_by,)
        named = [policies.automatic(preset.tasks) if policy == policies.AUTO else policy for policy in wanted]
        able = [policy for policy in named if not policies.missing_tasks(policy, preset.tasks)]
        if not able:
            raise UsageRejected(f"preset {name} is not trained for {' or '.join(named)}; choose another --rank-by")
        if len(able) < len(named):
            notes.append(
                f"Preset {name} is not trained for {' and '.join({*named} - {*able})}, so it has no such lists."
            )
        players.append(_Player(name, preset, tuple(dict.fromkeys(able)), folder / name))
    return [*players, _Player("", None, (), folder / _BASELINES)]


def _keys(settings: Settings, request: Request, found: Input, player: _Player) -> dict[str, str]:
    """Return digests of all that decides what the nights of a preset come to, but for the last of the dates."""
    chosen = settings.model_dump(mode="json")
    decides: dict[str, Any] = {
        "code": __version__,
        "ratings or movies": found.digest,
        "settings": [chosen["input"] | {"ratings": "", "movies": "", "links": ""}, chosen["rules"]],
        "dates": [request.first, request.every[1:], request.horizon and request.horizon[1:]],
    }
    if player.preset is not None:
        scoring = {name: value for name, value in chosen["scoring"].items() if name not in _OF_SPARK}
        training = {name: chosen["training"][name] for name in ("seed", "max_ratings", "max_age_days", "max_growth")}
        decides["settings"] += [scoring, training]
        decides["preset"] = player.preset.model_dump(mode="json")
        decides["ranking policies"] = player.policies
        decides["times of training"] = request.train_every and request.train_every[1:]
    return {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in decides.items()}


# -- the replay ----------------------------------------------------------------------------------------------------


def _replay(
    settings: Settings,
    request: Request,
    found: Input,
    days: list[date],
    players: list[_Player],
    stages: Stages,
    trainings: int | None,
) -> bool:
    """Replay all nights that are not kept, one after the other, and keep them; return whether all are done.

    Args:
        trainings: see `run`.
    """
    for player in players:
        player.open(_keys(settings, request, found, player), days)
    left = [day for day in days if any(day not in player.nights for player in players)]
    started, trained = time.monotonic(), 0
    for done, day in enumerate(left):
        if trainings is not None and trained >= trainings:
            return False
        seconds = (time.monotonic() - started) / max(done, 1) * (len(left) - done)
        remaining = f", about {formatting.seconds(seconds)} left" if done else ""
        with stages(f"night {days.index(day) + 1} of {len(days)}, {day}{remaining}"):
            night = Night(found, day, _until(request, day))
            for player in players:
                if day not in player.nights:
                    _play(settings, request, night, player)
                    trained += bool(player.nights[day].reason)
    return True


def _play(settings: Settings, request: Request, night: Night, player: _Player) -> None:
    """Do what a preset, or the baselines, would have done on a night, and keep what it came to."""
    record, tables = NightRecord(night=night.day), []
    if player.preset is None:
        catalogues = combine(night.found.catalogue, night.found.catalogue, place_new=False)
        allowed = business_rules.allowed(catalogues, night.counts, settings.rules)
        for name, recent in zip(replayed.BASELINES, (night.recent, None), strict=True):
            order, _ = popularity.popularity(np.arange(len(allowed)), night.counts, night.sums, recent)
            ranked = order[allowed[order]]
            lists = hits.first_unknown(ranked, len(allowed), len(night.users), night.relevant_to.known)
            tables.append(outcomes_of(night, lists).assign(method=name, preset=None, rank_by=None))
    else:
        record = _with_model(settings, request, night, player)
        if len(night.users):
            version = versions.open_version(player.models, record.version)
            serving = Serving(settings, night, version)
            for policy in player.policies:
                method = player.name if len(player.policies) == 1 else f"{player.name}, {policy}"
                of_policy = outcomes_of(night, serving.lists(policy))
                tables.append(of_policy.assign(method=method, preset=player.name, rank_by=policy))
    player.keep(record, pd.concat(tables) if tables else pd.DataFrame({c.SCORED_ON: []}))


def _with_model(settings: Settings, request: Request, night: Night, player: _Player) -> NightRecord:
    """Return the record of a night, with the model in use: a new one, trained as of the night, if that was due."""
    before = player.nights[max(player.nights)] if player.nights else None
    reason = _reason_to_train(settings, request, before, night)
    if not reason:
        assert before is not None
        return before.model_copy(update={"night": night.day, "reason": ""})
    log.info("%s, as of %s: training is due: %s", player.name, night.day, reason)
    assert player.preset is not None
    with unrepeated():
        trained = train.run(_as_of(settings, night, player), player.preset, promote=True)
    for old in versions.list_versions(player.models)[:-2]:  # `prune` would leave them, as this process has read them
        shutil.rmtree(Path(player.models, old))
    return NightRecord(
        night=night.day,
        trained_on=night.day,
        version=trained.version.name,
        ratings_seen=night.ratings_there,
        reason=reason,
    )


def _reason_to_train(settings: Settings, request: Request, before: NightRecord | None, night: Night) -> str | None:
    """Return why a model is trained on a night, by the rules of `nightly` or those of the request; None: it is not."""
    if before is None or before.trained_on is None:
        return "there is no model yet"
    if request.train_every is not None:
        is_due = request.train_every.after(before.trained_on) <= night.day
        return f"the current version is of {before.trained_on}" if is_due else None
    limits = settings.training
    age = night.day - before.trained_on
    return due.of_age(age, limits) or due.of_growth(night.ratings_there, before.ratings_seen, limits)


def _as_of(settings: Settings, night: Night, player: _Player) -> Settings:
    """Return the settings of a training as of a night: of all ratings by then, none of them held out."""
    place, chosen = {"data": str(night.found.folder), "models": player.models}, settings.input
    if chosen.last_second is None or night.second < chosen.last_second:
        chosen = chosen.model_copy(update={"as_of": f"{night.day}"})
    return settings.model_copy(
        update={
            "paths": settings.paths.model_copy(update=place),
            "input": chosen.model_copy(update={"ratings": "", "movies": "", "links": ""}),  # they lie in the folder now
            "training": settings.training.model_copy(update={"preset": player.name, "test_share": 0.0}),
        }
    )


# -- the result ----------------------------------------------------------------------------------------------------


def _outcomes(players: list[_Player], days: list[date]) -> pd.DataFrame:
    """Return what all nights came to, a row per night, method and user."""
    tables = []
    for day in days:
        for player in players:
            outcomes = player.outcomes(day)
            if len(outcomes):
                tables.append(outcomes.assign(trained_on=player.nights[day].trained_on))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _notes(found: Input, request: Request, days: list[date], outcomes: pd.DataFrame) -> list[str]:
    """Return what was assumed, and who is in the figures, a sentence each."""
    first, noun = int(dates.end_of(days[0]).timestamp()), "interactions" if found.feedback.is_implicit else "ratings"
    rated = len(np.unique(found.ratings.column(c.MOVIE).to_numpy()[found.time <= first]))
    of_one = outcomes[outcomes[replayed.METHOD] == POPULARITY]
    new = (of_one[replayed.GROUP] == replayed.NEW).sum()
    quiet = len(days) - of_one[c.SCORED_ON].nunique()
    movies = found.catalogue.num_rows
    notes = [
        f"Models are fitted to all {noun} up to their night; the gate, which a night would ask, is not.",
        f"The file of movies has no dates: all {movies:,} are in the catalogue of each night, although only "
        f"{rated:,} had {noun} by {days[0]}.",
    ]
    if new:
        notes.append(
            f"{new:,} users gave their first {noun} after a night. They had no list that night, and count as users "
            "without a history, who get what is trending."
        )
    if quiet:
        notes.append(f"After {quiet} of {len(days)} nights nobody rated anything new; they are in no figure.")
    if (of_one["came_back"] > MOST_USERS).any():
        notes.append(f"Where more than {MOST_USERS:,} users rated after a night, so many are measured, by their ids.")
    if request.horizon is not None and _until(request, days[0]) > request.every.after(days[0]):
        notes.append(f"A rating may count for several nights, as each is held against those of {request.horizon.text}.")
    return notes


def _result(
    request: Request, outcomes: pd.DataFrame, players: list[_Player], days: list[date], notes: list[str]
) -> Backtest:
    about = outcomes.drop_duplicates([c.SCORED_ON, replayed.METHOD])
    about = about[[c.SCORED_ON, "until", replayed.METHOD, "preset", c.RANK_BY, "trained_on"]]
    nights = replayed.by_night(outcomes).merge(about, on=[c.SCORED_ON, replayed.METHOD], sort=False)
    trainings = {
        player.name: sum(bool(player.nights[day].reason) for day in days) for player in players if player.preset
    }
    return Backtest(nights[c.BACKTEST.names], replayed.by_method(outcomes), trainings, notes)


def _write(result: Backtest, request: Request, folder: Path) -> None:
    """Write the tables, and all of it as JSON."""
    table = pa.Table.from_pandas(result.nights, schema=c.BACKTEST, preserve_index=False)
    storage.write_rows(folder / "backtest.parquet", table)
    record = _File(
        first=request.first,
        last=request.last,
        every=request.every.text,
        horizon=request.horizon and request.horizon.text,
        train_every=request.train_every and request.train_every.text,
        trainings=result.trainings,
        methods=json.loads(result.methods.to_json(orient="records")),
        nights=table.to_pylist(),
        notes=result.notes,
    )
    storage.write(folder / "backtest.json", record.to_bytes())


class _File(Record):
    """backtest.json."""

    first: date
    last: date
    every: str
    horizon: str | None
    train_every: str | None  # None: when it was due
    trainings: dict[str, int]
    methods: list[dict[str, Any]]  # see `replayed.by_method`
    nights: list[dict[str, Any]]  # `schemas.BACKTEST`
    notes: list[str]
