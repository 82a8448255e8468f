"""Published runs, made by hand, for tests of the report."""

from datetime import date, datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import settings
from recmodel.models import presets, versions
from recmodel.records import Figures, Metrics, PredictedRatings, RunRecord
from recmodel.report import facts
from recmodel.tables.output import open_output
from support.inputs import SIGNATURES
from support.runs import write_part

DAY = date(2026, 1, 31)
HOSTILE = (
    "</script><script>window.pwned = 1</script> (1999)",
    '<img src=x onerror="window.pwned = 1"> (2000)',
    "\"Quoted\" & 'apostrophised' <b>bold</b>",
    "{{ 7 * 7 }} ${7 * 7} {% raw %}",
    "<!-- <script> -->",
    "🎬🍿 emoji, \u202eright to left",
    "long " + "x" * 10_000,
)
METRICS = {
    "train_rows": 100, "epochs": {"rating_loss": [0.9, 0.7], "retrieval_loss": [7.0, 6.5]}, "start_seconds": 0.0,
    "epoch_seconds": [1.0, 0.5], "examples_per_second": 200, "test_rows": 25, "measured_users": 20,
    "rmse": 0.8, "mae": 0.6, "calibration_error": 0.05,
    "top_k_accuracy_unseen": {"1": 0.02, "5": 0.06, "10": 0.1, "50": 0.3, "100": 0.4},
    "baselines": {
        "mean and biases": {"rmse": 0.9, "mae": 0.7, "calibration_error": 0.04},
        "popularity": {"top_k_accuracy_unseen": {"1": 0.01, "5": 0.04, "10": 0.07, "50": 0.2, "100": 0.3}},
    },
}  # fmt: skip
_COLUMNS = (
    c.USER_ID, c.RANK, c.MOVIE_ID, c.TITLE, c.RETRIEVAL_SCORE, c.PREDICTED_RATING, c.SOURCE, c.BECAUSE_TITLE
)  # fmt: skip
_SCHEMA = pa.schema([c.RECOMMENDATION.field(name) for name in _COLUMNS])


def recommendations(users, movies: int, n: int = 5, seed: int = 0, popular=(), titles=None) -> pd.DataFrame:
    """Random rows of the table for `users`, in its order; those in `popular` have no scores."""
    random = np.random.RandomState(seed)
    frames = []
    for user in users:
        movie_ids = random.choice(movies, n, replace=False)
        by_model = user not in popular
        frames.append(
            pd.DataFrame(
                {
                    c.USER_ID: user, c.RANK: np.arange(1, n + 1), c.MOVIE_ID: movie_ids,
                    c.TITLE: [titles[movie] if titles else f"M{movie} (1999)" for movie in movie_ids],
                    c.RETRIEVAL_SCORE: np.sort(random.rand(n))[::-1] if by_model else np.nan,
                    c.PREDICTED_RATING: random.uniform(3, 5, n),
                    c.SOURCE: c.SOURCE_MODEL if by_model else c.SOURCE_POPULARITY,
                    c.BECAUSE_TITLE: titles[0] if titles and by_model else None,
                }
            )
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def write(frame: pd.DataFrame, folder: Path, files: int = 3) -> ds.Dataset:
    """Write recommendations as a run does, in files whose users do not overlap."""
    folder.mkdir(parents=True)
    for number, users in enumerate(np.array_split(frame[c.USER_ID].unique(), files)):
        part = frame[frame[c.USER_ID].isin(users)]
        pq.write_table(
            pa.Table.from_pandas(part, _SCHEMA, preserve_index=False), folder / f"part-{number:05d}-x.parquet"
        )
    return ds.dataset(folder, format="parquet")


def make_version(models: Path, metrics: dict) -> versions.ModelVersion:
    """Write a model version whose model is a placeholder."""
    saved_model = models.parent / "saved_model"
    saved_model.mkdir(parents=True, exist_ok=True)
    (saved_model / "content").write_text(f"{metrics}")
    return versions.write_version(
        models, saved_model, catalogue=c.CATALOGUE.empty_table(), metrics=Metrics(**metrics), preset_name="default",
        preset=presets.load("default"), training={}, data_fingerprint="", signatures=SIGNATURES,
    )  # fmt: skip


def publish(
    output: Path, frame: pd.DataFrame, day: date, version: str, keep: int = 90, attachments=None, tables=None, **changes
) -> None:
    """Publish a run of these recommendations, with one rejected row; `changes` are fields of its run.json.

    `tables`: rows of other tables by name; those that are missing are missing, as in runs of earlier versions.
    """
    staged = open_output(output).stage(day, "by hand")
    write(frame, Path(staged.table(c.RECOMMENDATIONS_TABLE)))
    Path(staged.table(c.PREDICTED_RATINGS_TABLE)).mkdir()
    Path(staged.table(c.REJECTS_TABLE)).mkdir()
    rejects = pa.table([["r.csv"], [7], ["rating"], ["<b>5.5</b>"], ["is bad"]], schema=c.REJECTS)
    pq.write_table(rejects, Path(staged.table(c.REJECTS_TABLE)) / "rejects.parquet")
    for name, rows in (tables or {}).items():
        write_part(staged, name, 0, pa.Table.from_pylist(rows, c.TABLES[name]))
    popular = frame[frame[c.SOURCE] == c.SOURCE_POPULARITY]
    mean = frame[c.PREDICTED_RATING].mean()
    record = {
        "run_id": "by hand", "run_date": day, "model_version": version,
        "finished_at": datetime.now(timezone.utc), "settings": settings.load().model_dump(), "rank_by": "retrieval",
        "rows_in": {"movies.csv": 40, "ratings.csv": 400}, "rows_rejected": 1, "movies": 40,
        "users": frame[c.USER_ID].nunique(), "partitions": 3,
        "recommendations": Figures(
            rows=len(frame), users=frame[c.USER_ID].nunique(), distinct_movies=frame[c.MOVIE_ID].nunique(),
            mean_predicted_rating=None if np.isnan(mean) else mean, popular_rows=len(popular),
            popular_users=popular[c.USER_ID].nunique(),
        ),
        "predicted_ratings": PredictedRatings(rows=0), "peak_mib": {"driver_python": 300},
        "seconds": {"start Spark": 4.0},
    }  # fmt: skip
    staged.publish(RunRecord(**(record | changes)), keep, attachments)


def collect(site, data: Path | None = None) -> facts.Facts:
    """Collect the facts of the newest run of the site, with its ratings read from `data`."""
    return facts.collect(open_output(site.output), DAY, settings.load(), site.models, str(data or site.data))
