"""Which column of a file is which of ours."""

import pyarrow as pa
import pytest
from support.inputs import LISTED, RATED, STRICT, csv_text, read, with_files

from recmodel.data.limits import Columns
from recmodel.errors import InputRejected

ALIASES = [
    ["userid", "movieid", "rating", "timestamp"],
    ["UserID", " MovieID", "Rating", "Timestamp "],
    ["user_id", "item_id", "rating", "timestamp"],
    ["USER", "ITEM", "STARS", "TIME"],
    ["User Id", "Movie-Id", "Score", "Unix_Time"],
]


def named(**names: str):
    return STRICT.model_copy(update={"columns": Columns(**names)})


@pytest.mark.parametrize("names", ALIASES, ids=lambda names: names[0])
@pytest.mark.parametrize("as_file", [lambda table: table, csv_text, lambda table: csv_text(table, ";")])
def test_common_names_are_known(tmp_path, toy, names, as_file):
    ending = "parquet" if as_file(RATED) is RATED else "csv"
    movies = LISTED.rename_columns([names[1], "Name", " GENRE"])
    folder = with_files(
        tmp_path, {f"ratings.{ending}": as_file(RATED.rename_columns(names)), f"movies.{ending}": as_file(movies)}
    )
    ratings, catalogue, validation = read(folder)
    assert (ratings, catalogue) == read(toy)[:2]
    assert "Name taken as title" in validation.files[0].assumptions


def test_the_key_of_movies_may_be_called_id(tmp_path, toy):
    movies = LISTED.rename_columns(["id", "title", "genres"])
    assert read(with_files(tmp_path / "a", {"movies.csv": csv_text(movies)}))[:2] == read(toy)[:2]
    ratings = RATED.rename_columns(["userId", "id", "rating", "timestamp"])
    with pytest.raises(InputRejected, match="ratings.csv has no column movieId"):
        read(with_files(tmp_path / "b", {"ratings.csv": csv_text(ratings)}))


def test_any_names_by_the_settings(tmp_path, toy):
    ratings = RATED.rename_columns(["Kunde", "Artikel Nr.", "Note", "am"])
    movies = LISTED.rename_columns(["Artikel Nr.", "Titel", "Rubriken"])
    folder = with_files(tmp_path, {"ratings.csv": csv_text(ratings), "movies.parquet": movies})
    names = {
        "user_id": "Kunde",
        "movie_id": "artikel nr.",
        "rating": "Note",
        "timestamp": "am",
        "title": "Titel",
        "genres": "Rubriken",
    }
    assert read(folder, named(**names))[:2] == read(toy)[:2]
    # the name of a key may be that of one file only
    folder = with_files(tmp_path / "b", {"ratings.csv": csv_text(ratings), "movies.csv": csv_text(LISTED)})
    assert read(folder, named(**{**names, "title": "", "genres": ""}))[:2] == read(toy)[:2]


def test_the_settings_beat_the_usual_name(tmp_path, toy):
    table = RATED.append_column("stars", pa.array([1.0] * RATED.num_rows))
    folder = with_files(tmp_path, {"ratings.csv": csv_text(table)})
    assert read(folder)[0] == read(toy)[0]
    assert set(read(folder, named(rating="stars"))[0]["rating"].to_pylist()) == {1.0}


@pytest.mark.parametrize(
    ("names", "settings", "sentence"),
    [
        ("userId movieId rating timestamp", {"timestamp": "wann"}, "has no column wann (it has userId, movieId, "
         "rating, timestamp); correct input.columns.timestamp"),
        ("userId movieId rating timestamp", {"rating": "note"}, "correct input.columns.rating"),
        ("who movieId rating timestamp", {}, "has no column userId (it has who, movieId, rating, timestamp); add it, "
         "or name the column that holds it in input.columns.user_id"),
        ("who movieId rating timestamp", {"user_id": "wer"}, "has no column wer (it has who"),
        ("UserID user_ID userid timestamp", {}, "has the columns 'UserID' and 'user_ID' and 'userid'; name the one"),
        ("1 31 2.5 1260759144", {}, "its first line must name the columns"),
    ],
)  # fmt: skip
def test_a_column_that_is_not_found_gets_one_sentence(tmp_path, names, settings, sentence):
    folder = with_files(tmp_path, {"ratings.csv": csv_text(RATED.rename_columns(names.split()))})
    with pytest.raises(InputRejected) as caught:
        read(folder, named(**settings))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "max_rejected_share" not in str(caught.value)
