"""Carried lists: which lists of an earlier run still stand; see `pipeline.incremental`."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c


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
    by_model = rows_before.filter(c.are_by_model(rows_before.column(c.SOURCE))).column(c.USER_ID)
    stays = pc.and_(same.fill_null(False), pc.is_in(user_id, value_set=by_model.combine_chunks()))
    if opted_out is not None:
        stays = pc.and_not(stays, pc.is_in(user_id, value_set=opted_out))
    return pa.chunked_array([user_id]).filter(pc.invert(stays)).combine_chunks()


def rows(before: pa.Table, users: pa.Array, to_score: pa.Array) -> pa.Table:
    """Return the earlier run's rows, of a table with a column user_id, that still stand.

    Args:
        users: those of this run; users who have left are not among them.
        to_score: see `users_to_score`.
    """
    user_id = before.column(c.USER_ID)
    staying = pc.and_not(pc.is_in(user_id, value_set=users), pc.is_in(user_id, value_set=to_score))
    return before.filter(staying)
