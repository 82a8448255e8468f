"""Side tables: what the driver publishes next to the lists, so that a query needs no other source."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel import storage
from recmodel.arrays import places
from recmodel.data import catalogue as lookup
from recmodel.data.catalogue import Catalogues
from recmodel.models import architectures, versions
from recmodel.pipeline.resolve import ResolvedRun
from recmodel.progress import log
from recmodel.records import Manifest, Metrics, SimilarMovies
from recmodel.scoring import recommender, similar
from recmodel.storage import Location
from recmodel.tables.base import StagedRun
from recmodel.tables.output import open_output

SIMILAR_MOVIES = 20  # of each movie
_RUNS_TO_CARRY = 3  # the newest runs, among which one with the same similar movies is looked for
_FILE = "part-00000.parquet"


def write(staged: StagedRun, table: str, rows: pa.Table) -> None:
    """Write all rows of a small table of a run."""
    storage.write_rows(storage.below(staged.table(table), _FILE), rows)


def movies(catalogues: Catalogues, number: np.ndarray, total: np.ndarray, allowed: np.ndarray) -> pa.Table:
    """Return `schemas.MOVIE_ROW` of tonight's movies and the delisted ones, ascending.

    Args:
        number, total: [A] number and sum of the ratings of each that count; the sum is NaN where there are no ratings.
        allowed: [M] bool, which of the model's movies may be recommended.
    """
    movie, of_model = catalogues.all, catalogues.of_model
    movie_id = movie.column(c.MOVIE_ID).combine_chunks()
    row = places(of_model.column(c.MOVIE_ID).combine_chunks(), movie.column(c.MOVIE_ID))
    trained = (row >= 0) & ~catalogues.placed[row]
    tonight = pc.is_in(movie_id, catalogues.tonight.column(c.MOVIE_ID).combine_chunks()).to_numpy(zero_copy_only=False)
    status = np.where(~tonight, c.STATUS_DELISTED, np.where(trained, c.STATUS_KNOWN, c.STATUS_NEW))
    mean = np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)
    columns = {
        c.MOVIE_ID: movie_id,
        c.TITLE: movie.column(c.TITLE),
        c.GENRES: [_genres(text) for text in movie.column(c.GENRES).to_pylist()],
        c.YEAR: pa.array(lookup.years(movie), from_pandas=True).cast(pa.int32()),  # NaN is null
        c.IMDB_ID: movie.column(c.IMDB_ID),
        c.TMDB_ID: movie.column(c.TMDB_ID),
        c.RATINGS_COUNT: number.astype(np.int64),
        c.MEAN_RATING: pa.array(mean.astype(np.float32), from_pandas=True),
        c.ALLOWED: (row >= 0) & allowed[row],
        c.STATUS: status.astype(object),
    }
    kind = movie.schema.field(c.MOVIE_ID).type
    schema = pa.schema([field.with_type(kind) if field.name == c.MOVIE_ID else field for field in c.MOVIE_ROW])
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _genres(text: str | None) -> list[str]:
    return [] if text is None or text in lookup.NO_GENRE else text.split("|")


# -- similar movies ----------------------------------------------------------------------------------------------------


def write_similar_movies(resolved: ResolvedRun, staged: StagedRun, model: bytes, allowed: np.ndarray) -> SimilarMovies:
    """Write the table of similar movies: that of an earlier run if nothing that decides it has changed.

    Args:
        model: the SavedModel, packed, with the new movies that it places.
        allowed: [M] bool, which of the model's movies may be recommended.
    """
    if "retrieval" not in resolved.version.tasks:
        log.info("model %s was not trained for retrieval, so it knows no similar movies", resolved.version.name)
        rows = c.with_ids(c.SIMILAR, resolved.version.ids).empty_table()
        write(staged, c.SIMILAR_TABLE, rows)
        return SimilarMovies()
    key, output = _key(resolved, allowed), open_output(staged.output)
    for day in reversed(output.run_dates()[-_RUNS_TO_CARRY:]):
        before = output.read_run(day).similar_movies
        if before.key == key and output.files(c.SIMILAR_TABLE, day):
            rows = output.dataset(c.SIMILAR_TABLE, day).to_table(columns=c.SIMILAR.names)
            write(staged, c.SIMILAR_TABLE, rows)
            log.info("similar movies are those of %s, as model and catalogue are the same", day)
            return before.model_copy(update={"carried_from": before.carried_from or day})
    with tempfile.TemporaryDirectory() as scratch:
        recommender.unpack(model, Path(scratch))
        call = architectures.open_for_scoring(resolved.version.architecture)(Path(scratch))
        movies = call("movie_vectors", {})
        vectors = np.array(movies["retrieval"])
        seen_vectors = np.array(movies["seen"]) if "seen" in movies else vectors  # which the first versions lack
    rows = similar_movies(resolved.catalogues, seen_vectors, vectors, allowed)
    write(staged, c.SIMILAR_TABLE, rows)
    return SimilarMovies(rows=rows.num_rows, key=key)


def similar_movies(
    catalogues: Catalogues, seen_vectors: np.ndarray, vectors: np.ndarray, allowed: np.ndarray
) -> pa.Table:
    """Return `schemas.SIMILAR` of tonight's movies that the model knows, by movie and rank.

    Args:
        seen_vectors, vectors: [M, d] float32 of the model's movies; see `similar.nearest`.
        allowed: [M] bool, which of them may be recommended.
    """
    movie_id, of = catalogues.of_model.column(c.MOVIE_ID).combine_chunks(), np.flatnonzero(catalogues.listed)
    top = similar.nearest(seen_vectors, vectors, of, allowed, SIMILAR_MOVIES)
    movie, place = np.nonzero(top.row >= 0)
    columns = [
        movie_id.take(pa.array(of[movie])),
        (place + 1).astype(np.int32),
        movie_id.take(pa.array(top.row[movie, place])),
        top.score[movie, place],
    ]
    return pa.table(columns, c.SIMILAR.names)


def _key(resolved: ResolvedRun, allowed: np.ndarray) -> str:
    catalogues = resolved.catalogues
    placed = catalogues.of_model.filter(pa.array(catalogues.placed)).select([c.MOVIE_ID, c.GENRES, c.TITLE])
    which = [np.flatnonzero(rows).tolist() for rows in (catalogues.listed, allowed)]
    by = [SIMILAR_MOVIES, "seen"]  # another word where similar movies become others
    decides = {"model": resolved.version.name, "placed": placed.to_pydict(), "movies": which, "by": by}
    return storage.sha256_of(decides)


# -- model versions ----------------------------------------------------------------------------------------------------


def models(location: Location, used: str, rank_by: str) -> pa.Table:
    """Return `schemas.MODEL_ROW` of all versions, oldest first.

    What is missing or damaged of a version that is not used tonight is no reason to stop: it is logged, and null.

    Args:
        used: the version of the run.
        rank_by: the ranking policy of the run.
    """
    current = versions.current(location)
    rows = []
    for name in versions.list_versions(location):
        of_run = {"used": name == used, c.RANK_BY: rank_by if name == used else None}
        rows.append({**_of_version(location, name), **of_run, "current": name == current})
    return pa.Table.from_pylist(rows, c.MODEL_ROW)


def _of_version(location: Location, name: str) -> dict[str, object]:
    manifest: Manifest | None = None
    metrics: Metrics | None = None
    try:
        manifest = versions.read_manifest(location, name)
        metrics = versions.read_metrics(location, name)
    except ValueError:
        log.warning("of model %s, manifest.json or metrics.json cannot be read; the table models has nulls there", name)
    row: dict[str, object] = {c.MODEL_VERSION: name}
    if manifest is not None:
        row |= {
            "created_at": manifest.created_at,
            "preset": manifest.preset,
            "newest_rating": manifest.newest_rating,
        }
    if metrics is not None:
        row |= {
            "train_rows": metrics.train_rows,
            "test_rows": metrics.test_rows,
            "rmse": metrics.rmse,
            "accuracy_at_100": metrics.accuracy_at_100,
            "baselines": [
                {"name": baseline, "rmse": measures.rmse, "accuracy_at_100": measures.accuracy_at_100}
                for baseline, measures in (metrics.baselines or {}).items()
            ],
            "gate": None if metrics.gate is None else "refused" if metrics.gate else "passed",
            "gate_reasons": metrics.gate or [],
            "metrics": metrics.to_bytes().decode(),
            "ndcg_10": metrics.ndcg_at_10,
            "ndcg_10_liked": metrics.ndcg_at_10_liked,
        }
    return row
