"""Published runs for tests of the export: values say which run they are of, and texts are as hostile as they may be."""

import math
from datetime import date, datetime, timezone

import pyarrow as pa

from recmodel import schemas as c
from recmodel.schemas import INTEGER_IDS, Ids
from recmodel.tables.base import Output
from recmodel.tables.output import open_output
from support.runs import DAY, record, write_part

HOSTILE = ("tab\tand\nlines\r", 'quoted "\'"', "back\\slash \\N \\.", "{a,b}", "🎬 \u202e", "", "\\")
MOVIES = 7
UNTIL = datetime(2026, 2, 2, 23, 59, 59, tzinfo=timezone.utc)


def publish(
    location,
    users,
    label: int = 0,
    day: date = DAY,
    ids: Ids = INTEGER_IDS,
    changed=(),
    full: bool = True,
    delisted=(),
) -> dict[str, list[dict]]:
    """Publish a run of these users, in two files; return its rows, by table.

    A list has three movies, of scores that are the same in all runs but for `changed` users; the mean rating of each
    movie is the label.
    """
    rows = {
        c.LISTS_TABLE: [
            {
                c.USER_ID: user_id(user, ids), c.RECOMMENDATIONS: entries(user, label if user in changed else 0, ids),
                c.MODEL_VERSION: f"v{label}", c.VALID_UNTIL: UNTIL.replace(year=2026 + label),
            }
            for user in users
        ],
        c.MOVIES_TABLE: [
            {
                c.MOVIE_ID: movie_id(movie, ids), c.TITLE: HOSTILE[movie % len(HOSTILE)],
                c.GENRES: [*HOSTILE[:movie]], c.YEAR: None if movie == 2 else 1990 + movie, c.IMDB_ID: f"{movie:07d}",
                c.TMDB_ID: None, c.RATINGS_COUNT: movie, c.MEAN_RATING: float(label), c.ALLOWED: movie != 3,
                c.STATUS: c.STATUS_DELISTED if movie in delisted else c.STATUS_KNOWN,
            }
            for movie in range(MOVIES)
        ],
        c.SIMILAR_TABLE: [
            {c.MOVIE_ID: movie_id(movie, ids), c.RANK: rank, c.SIMILAR_MOVIE_ID: movie_id(rank, ids), c.SCORE: 1 / rank}
            for movie in range(0, MOVIES, 2)
            for rank in range(1, movie + 2)
        ],
    }  # fmt: skip
    staged = open_output(location).stage(day, "by-hand")
    for table in c.TABLES:
        schema, some = c.with_ids(c.TABLES[table], ids), rows.get(table, [])
        for part, half in enumerate((some[: len(some) // 2], some[len(some) // 2 :])):
            write_part(staged, table, part, pa.Table.from_pylist(half, schema))
    run = record(day, run_id=f"{day} {label} {ids}", model_version=f"v{label}", ids=ids, users=len(rows[c.LISTS_TABLE]),
                 all_users=full)  # fmt: skip
    staged.publish(run, 90)
    return rows


def entries(user: int, label: int, ids: Ids = INTEGER_IDS) -> list[dict]:
    scores = (0.1 + label, None if user % 2 else 1e-7, math.nan)
    return [
        {c.MOVIE_ID: movie_id((user + place) % MOVIES, ids), c.SCORE: score, c.PREDICTED_RATING: 3.25,
         c.SOURCE: "model" if place else "popularity"}
        for place, score in enumerate(scores)
    ]  # fmt: skip


def user_id(user: int, ids: Ids):
    return user if ids.user == c.INTEGER else f"{HOSTILE[user % 6]}{user:06d}"


def movie_id(movie: int, ids: Ids):
    return movie if ids.movie == c.INTEGER else f"tt{movie:07d}{HOSTILE[movie % 6]}"


def forget(output: Output, *users) -> None:
    """What the command `forget` does to published tables."""
    from recmodel.tables.erasing import Users

    whom = Users(users)
    output.erase(whom, output.find(whom), 0)
