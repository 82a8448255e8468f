"""How many rows may be refused, and what is advised where there are too many."""

import pyarrow as pa
import pytest
from support.inputs import LENIENT, LISTED, RATED, STRICT, csv_text, read, with_files

from recmodel.errors import InputRejected
from recmodel.records import InputFile


def sentence_of(folder, limits=STRICT) -> str:
    with pytest.raises(InputRejected) as caught:
        read(folder, limits)
    return str(caught.value)


def with_column(name: str, values) -> pa.Table:
    return RATED.set_column(RATED.schema.get_field_index(name), name, pa.array(values))


@pytest.mark.parametrize("factor", [2, 20])
def test_another_scale_is_named_and_can_be_set(tmp_path, factor):
    values = [value * factor for value in RATED["rating"].to_pylist()]
    folder = with_files(tmp_path, {"ratings.csv": csv_text(with_column("rating", values))})
    sentence = sentence_of(folder)
    assert f"the ratings lie between {min(values):g} and {max(values):g}" in sentence
    assert "input.rating_min and input.rating_max" in sentence
    assert "max_rejected_share" not in sentence
    limits = STRICT.model_copy(update={"rating_min": min(values), "rating_max": max(values)})
    assert read(folder, limits)[0]["rating"].to_pylist() == values


def test_ratings_that_are_no_numbers_have_no_range(tmp_path):
    folder = with_files(tmp_path, {"ratings.csv": csv_text(with_column("rating", [float("nan")] * RATED.num_rows))})
    assert sentence_of(folder).endswith("; correct the file")


@pytest.mark.parametrize(
    "write", [lambda i: f"u-{i:06}", lambda i: f"tt{i:07}", lambda i: f"8b1a-{i}", str.upper("x{}").format]
)
@pytest.mark.parametrize("column", ["userId", "movieId"])
def test_text_is_refused_where_the_settings_ask_for_integers(tmp_path, column, write):
    values = [write(value) for value in RATED[column].to_pylist()]
    folder = with_files(tmp_path, {"ratings.csv": csv_text(with_column(column, values))})
    sentence = sentence_of(folder, STRICT.model_copy(update={"ids": "integer"}))
    assert f"row 2, column {column}: {values[0]!r} is not an integer of 64 bits" in sentence
    assert "set input.ids to text if they are text" in sentence
    assert "max_rejected_share" not in sentence


def test_times_in_words_are_refused_with_what_can_be_read(tmp_path):
    sentence = sentence_of(
        with_files(tmp_path, {"ratings.csv": csv_text(with_column("timestamp", ["30/07/2000"] * 99))})
    )
    assert "column timestamp: '30/07/2000'" in sentence
    assert "ISO 8601, such as 2009-07-17T13:59:43Z" in sentence


def test_single_bad_rows_may_be_allowed(tmp_path):
    values = [*RATED["movieId"].to_pylist()[:-1], "x"]
    folder = with_files(tmp_path, {"ratings.csv": csv_text(with_column("movieId", map(str, values)))})
    assert sentence_of(folder).endswith("correct the file or raise input.max_rejected_share")
    assert read(folder, STRICT.model_copy(update={"max_rejected_share": 0.02}))[0].num_rows == RATED.num_rows - 1


def test_the_most_frequent_reason_is_the_one_that_is_named(tmp_path):
    lines = ["x,1,4.0,1", *["1,99,4.0,1"] * 5, "1,1,4.0,1"]
    folder = with_files(tmp_path, {"ratings.csv": "\n".join(["userId,movieId,rating,timestamp", *lines])})
    assert "row 3, column movieId: '99' is not in the file of movies (6 of 7 rows refused" in sentence_of(folder)


def test_how_each_file_was_read_is_kept(tmp_path):
    links = "movieId;imdbId;tmdbId\r1;0133093;603.0\r"
    folder = with_files(tmp_path, {"links.csv": links, "ratings.tsv": csv_text(RATED.drop_columns("timestamp"), "\t")})
    _, catalogue, validation = read(folder, LENIENT)
    assert catalogue["tmdb_id"].to_pylist()[0] == 603
    assert validation.files == [
        InputFile(file="movies.csv", layout="CSV", encoding="UTF-8", rows=LISTED.num_rows),
        InputFile(file="links.csv", layout="CSV with ;", encoding="UTF-8", rows=1,
                  assumptions=["ids written with a decimal point, as 1.0"]),
        InputFile(file="ratings.tsv", layout="CSV with tabs", encoding="UTF-8", rows=RATED.num_rows,
                  assumptions=["no column of times, so the order of the ratings is unknown"]),
    ]  # fmt: skip
