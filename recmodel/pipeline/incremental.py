"""Incremental nights: users whose ratings have not changed keep the recommendations of an earlier run.

Takes the table `users` of two runs and the recommendations of the earlier one; gives the users to be scored anew, and
the rows of the others. Together they are what scoring everybody would give, but for `scored_at` and the last bit of a
score, which is rounded by who else is scored in the same block.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import recmodel
from recmodel import files, settings
from recmodel import schemas as c
from recmodel.data import movielens as data
from recmodel.models import versions
from recmodel.storage import Location
from recmodel.tables import linked as tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def conditions(chosen: settings.Settings, rank_by: str, version: versions.ModelVersion) -> str:
    """Names all, beside ratings, that decides what a user known to the model is recommended.

    Raises:
        InputRejected: the table of denied pairs does not exist.
    """
    denied = chosen.rules.deny_pairs
    decides = {
        "code": recmodel.__version__,
        "model": version.manifest,
        "scoring": chosen.scoring.model_dump(exclude={"incremental"}) | {"rank_by": rank_by},
        "liked_from": chosen.input.liked_from,
        "rules": chosen.rules.model_dump(),
        "denied": denied and files.sha256(data.find_ids(Path(denied), c.PAIRS)),
    }
    return files.sha256_of(decides)


def earlier(output: Location, run_date: date, same_conditions: str) -> dict[str, Any] | None:
    """The run.json of the newest run, of that date or before, whose rows may be carried; None: score everybody."""
    for day in reversed(tables.run_dates(output)):
        if day <= run_date:
            run = tables.read_run(output, day)
            fingerprinted = run["settings"]["scoring"].get("incremental")
            if fingerprinted and run["all_users"] and run["conditions"] == same_conditions:
                return run
    return None


def changed(by_user: DataFrame, before: DataFrame, rows: DataFrame) -> DataFrame:
    """`user_id` of those to be scored: new users, changed ratings, and all whom the model did not serve.

    What is popular changes every night, so lists that come from it are made anew.

    Args:
        by_user: the table `users` of this run.
        before: that of the earlier run.
        rows: the earlier run's `columns.RECOMMENDATION`.
    """
    by_model = rows.where(rows[c.SOURCE] == c.SOURCE_MODEL).select(c.USER_ID)
    same = before.select(c.USER_ID, c.FINGERPRINT).join(by_model, c.USER_ID, "left_semi")
    return by_user.join(same, [c.USER_ID, c.FINGERPRINT], "left_anti").select(c.USER_ID)


def carried(rows: DataFrame, by_user: DataFrame, scored: DataFrame) -> DataFrame:
    """Those of the earlier run's rows that still stand.

    Args:
        rows: the earlier run's `columns.RECOMMENDATION`.
        by_user: the table `users` of this run; users who have left are not in it.
        scored: `changed`.
    """
    stay = by_user.join(scored, c.USER_ID, "left_anti")
    return rows.select(*c.RECOMMENDATION).join(stay, c.USER_ID, "left_semi")
