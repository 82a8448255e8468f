"""Incremental nights: users whose ratings have not changed keep the recommendations of an earlier run.

Together with the users who are scored again, their rows are those of a full run, except for `scored_at` and the last
bit of a score: how a product of blocks is rounded depends on the other users in the block.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import movielens
from recmodel.data.catalogue import Catalogues
from recmodel.data.feedback import Feedback
from recmodel.models.versions import ModelVersion
from recmodel.records import RunRecord
from recmodel.settings import Settings
from recmodel.tables.base import Output
from recmodel.version import __version__


def conditions(
    settings: Settings, rank_by: str, version: ModelVersion, catalogues: Catalogues, feedback: Feedback
) -> str:
    """Return a digest of all, except ratings, that decides what a user known to the model is recommended.

    A movie that is delisted, relisted, renamed, or new and placed by the model counts: it may be in anybody's list.

    Raises:
        InputRejected: the table of denied pairs does not exist.
    """
    pairs = settings.rules.deny_pairs
    return storage.sha256_of(
        {
            "code": __version__,
            "model": version.manifest.to_json(),
            "catalogue": [
                catalogues.listed.tolist(),
                catalogues.of_model.select([c.MOVIE_ID, c.TITLE, c.GENRES]).to_pydict(),
            ],
            "scoring": settings.scoring.model_dump(exclude={"incremental"}) | {"rank_by": rank_by},
            "liked_from": feedback.liked_from,
            "rules": settings.rules.model_dump(exclude={"opt_out"}),  # who opts out, or in again, is scored again
            "denied": pairs and storage.sha256(movielens.find_ids(Path(pairs), c.PAIRS)),
        }
    )


def earlier_run(output: Output, run_date: date, same_conditions: str) -> RunRecord | None:
    """Return the newest run, of that date or before, whose lists may be carried on; None: score everybody."""
    for day in reversed(output.run_dates()):
        if day <= run_date:
            run = output.read_run(day)
            if run.incremental and run.all_users and run.conditions == same_conditions:
                return run
    return None


def users_to_score(
    users: pa.Table, users_before: pa.Table, rows_before: pa.Table, opted_out: pa.Array | None = None
) -> pa.Array:
    """Return who is new, has changed ratings, was not served by the model, or has opted out, ascending.

    What is popular changes every night, so lists that come from it are always made again. The list of somebody who has
    opted out may be of a time before they did.

    Args:
        users: `schemas.USER` of this run, ascending.
        users_before: `schemas.USER` of the earlier run.
        rows_before: user_id and source of the earlier run's recommendations.
    """
    user_id = users.column(c.USER_ID).combine_chunks()
    place = pc.index_in(user_id, value_set=users_before.column(c.USER_ID).combine_chunks())
    same = pc.equal(users_before.column(c.FINGERPRINT).combine_chunks().take(place), users.column(c.FINGERPRINT))
    by_model = rows_before.filter(pc.not_equal(rows_before.column(c.SOURCE), c.SOURCE_POPULARITY)).column(c.USER_ID)
    stays = pc.and_(same.fill_null(False), pc.is_in(user_id, value_set=by_model.combine_chunks()))
    if opted_out is not None:
        stays = pc.and_not(stays, pc.is_in(user_id, value_set=opted_out))
    return pa.chunked_array([user_id]).filter(pc.invert(stays)).combine_chunks()


def carried_rows(rows_before: pa.Table, users: pa.Array, to_score: pa.Array) -> pa.Table:
    """Return the earlier run's rows (`schemas.RECOMMENDATION`) that still stand.

    Args:
        users: those of this run; users who have left are not among them.
        to_score: see `users_to_score`.
    """
    user_id = rows_before.column(c.USER_ID)
    staying = pc.and_not(pc.is_in(user_id, value_set=users), pc.is_in(user_id, value_set=to_score))
    return rows_before.select(c.RECOMMENDATION.names).filter(staying)
