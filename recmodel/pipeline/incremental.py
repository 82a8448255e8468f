"""Incremental nights: users whose ratings have not changed keep the recommendations of an earlier run.

Together with the users who are scored again, their rows are those of a full run, except for `scored_at` and the last
bit of a score: how a product of blocks is rounded depends on the other users in the block.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

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
            "tables": {table: schema.names for table, schema in c.TABLES.items()},  # a run that lacks one has no lists
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
