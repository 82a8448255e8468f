"""Columns become the types of the schema: ids, ratings, times and genres in the ways people write them."""

import csv
import datetime as dt
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from support.inputs import LENIENT, LISTED, RATED, csv_text, read, with_files

from recmodel import schemas as c
from recmodel.data.values import Vocabulary
from recmodel.errors import InputRejected

TIMES = [964982703, 964982704, 0, 1537799250]
ZONES = {"z": "%Y-%m-%dT%H:%M:%SZ", "spark": "%Y-%m-%dT%H:%M:%S.000Z", "offset": "%Y-%m-%dT%H:%M:%S+00:00",
         "python": "%Y-%m-%d %H:%M:%S", "python with zone": "%Y-%m-%d %H:%M:%S.123456+00:00",
         "utc": "%Y-%m-%d %H:%M:%S UTC", "duckdb": "%Y-%m-%d %H:%M:%S+00"}  # fmt: skip


def ratings_with(column: str, values: pa.Array, folder, parquet: bool = True):
    count = len(values)
    columns = {
        "userId": [*range(1, count + 1)],
        "movieId": [1] * count,
        "rating": [4.0] * count,
        "timestamp": [1] * count,
    }
    table = pa.table(columns | {column: values})
    return with_files(folder, {"ratings.parquet": table} if parquet else {"ratings.csv": csv_text(table)})


def utc(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)


@pytest.mark.parametrize("factor", [1, 1000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("type_", [pa.int64(), pa.string(), pa.float64(), pa.uint64(), None])
def test_times_since_1970_in_any_unit(tmp_path, factor, type_):
    write = {pa.string(): str, pa.float64(): float}.get(type_, int)
    values = pa.array([write(value * factor) for value in TIMES], type_)
    ratings, _, validation = read(ratings_with("timestamp", values, tmp_path, parquet=type_ is not None))
    assert ratings[c.TIMESTAMP].to_pylist() == TIMES
    said = [text for text in validation.files[-1].assumptions if "times in" in text]
    units = {1000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}
    assert said == ([f"times in {units[factor]}"] if factor > 1 else [])


@pytest.mark.parametrize(
    "type_", [pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.timestamp("us"), pa.timestamp("ms", "Asia/Tokyo")]
)
def test_times_of_parquet(tmp_path, type_):
    values = pa.array([value * 1000 for value in TIMES], pa.timestamp("ms", "UTC")).cast(type_)
    assert read(ratings_with("timestamp", values, tmp_path))[0][c.TIMESTAMP].to_pylist() == TIMES


@pytest.mark.parametrize("type_", [pa.date32(), pa.date64(), pa.string()])
def test_dates(tmp_path, type_):
    values = pa.array([dt.date(2000, 7, 30), dt.date(1969, 12, 31)], pa.date32()).cast(type_)
    ratings, _, _ = read(ratings_with("timestamp", values, tmp_path))
    assert ratings[c.TIMESTAMP].to_pylist() == [964915200, -86400]


@pytest.mark.parametrize("written", ZONES)
@pytest.mark.parametrize("parquet", [True, False])
def test_times_in_iso_8601(tmp_path, written, parquet):
    values = pa.array([utc(value).strftime(ZONES[written]) for value in TIMES])
    ratings, _, validation = read(ratings_with("timestamp", values, tmp_path, parquet))
    assert ratings[c.TIMESTAMP].to_pylist() == TIMES
    assert "times in ISO 8601, in UTC where no time zone is given" in validation.files[-1].assumptions


def test_time_zones_count_row_by_row(tmp_path):
    written = [
        "2000-07-30T20:45:03+02:00",
        "2000-07-30T18:45",
        "2000-07-30 13:45:03-0500",
        "2000-07-30",
        " 2000-07-30T18:45:03z ",
    ]
    ratings, _, _ = read(ratings_with("timestamp", pa.array(written), tmp_path))
    assert ratings[c.TIMESTAMP].to_pylist() == [964982703, 964982700, 964982703, 964915200, 964982703]


@pytest.mark.parametrize(
    ("usual", "odd", "reason"),
    [
        ("964982703", "964982703000", "lies in the future, as seconds since 1970"),
        ("964982703000", "964982703", "is not a time in milliseconds since 1970"),
        ("964982703", "2000-07-30", "is not an integer of 64 bits"),
        ("2000-07-30", "964982703", "is not a time in ISO 8601"),
        ("2000-07-30", "2000-13-30", "is not a time in ISO 8601"),
        ("2000-07-30", "", "is not a time in ISO 8601"),
    ],
)
def test_a_time_unlike_the_others_is_refused(tmp_path, usual, odd, reason):
    folder = ratings_with("timestamp", pa.array([usual, odd, usual]), tmp_path, parquet=False)
    (reject,) = read(folder, LENIENT)[2].rejected().to_pylist()
    assert (reject["row"], reject["reason"]) == (3, reason)


@pytest.mark.parametrize("parquet", [True, False])
def test_without_times_all_are_0_and_that_is_said(tmp_path, toy, parquet):
    table = RATED.drop_columns("timestamp")
    folder = with_files(tmp_path, {"ratings.parquet": table} if parquet else {"ratings.csv": csv_text(table)})
    ratings, _, validation = read(folder)
    expected = read(toy)[0]
    assert ratings.drop_columns(c.TIMESTAMP) == expected.drop_columns(c.TIMESTAMP)
    assert set(ratings[c.TIMESTAMP].to_pylist()) == {0}
    assert validation.files[-1].assumptions == ["no column of times, so the order of the ratings is unknown"]


@pytest.mark.parametrize(("type_", "limit"), [(pa.float64(), 2**53), (pa.float32(), 2**24), (pa.float16(), 2**11)])
@pytest.mark.parametrize("column", ["userId", "movieId"])
def test_doubles_are_ids_only_where_they_are_exact(tmp_path, column, type_, limit):
    fine = pa.array(np.array([1, limit - 1, 2], type_.to_pandas_dtype()))
    ratings, _, validation = read(ratings_with(column, fine, tmp_path / "fine"), LENIENT)
    if column == "userId":
        assert ratings[c.USER_ID].to_pylist() == [1, limit - 1, 2]
    assert f"{column}: doubles, all of them whole numbers" in validation.files[-1].assumptions
    wrongs = [
        (limit, "too large to be exact"),
        (-limit, "too large"),
        (1.5, "not a whole number"),
        (np.inf, "too large"),
    ]
    for i, (wrong, why) in enumerate(wrongs):
        values = pa.array(np.array([1, 2, wrong], type_.to_pandas_dtype()))
        with pytest.raises(InputRejected) as caught:
            read(ratings_with(column, values, tmp_path / str(i)), LENIENT)
        assert f"ratings.parquet, column {column}: the id {wrong:.17g} is {why}" in str(caught.value)
        assert str(caught.value).endswith("export the column as integers or text")


def test_a_missing_double_is_a_row_without_an_id(tmp_path):
    ratings, _, validation = read(ratings_with("userId", pa.array([1.0, None, float("nan"), 4.0]), tmp_path), LENIENT)
    assert ratings[c.USER_ID].to_pylist() == [1, 4]
    assert validation.rejected()["reason"].to_pylist() == ["is missing", "is not an integer of 64 bits"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, 3], pa.uint64()), pa.array([1, 2, 3], pa.decimal128(20, 0)), pa.array([b"1", b"2", b"3"]),
        pa.array(["1", "2", "3"], pa.large_string()), pa.array(["1", "2", "3"], pa.string_view()),
        pa.array(["1", "2", "3"]).dictionary_encode(), pa.array(["1.0", "2.0", "3.00"]), pa.array([1, 2, 3], pa.int8()),
    ],
    ids=lambda values: str(values.type),
)  # fmt: skip
def test_ids_of_any_exact_type(tmp_path, values):
    assert read(ratings_with("userId", values, tmp_path))[0][c.USER_ID].to_pylist() == [1, 2, 3]


def test_ids_with_a_point_keep_all_their_64_bits(tmp_path):
    values = pa.array(["9007199254740993.0", "7.0", "3"])
    assert read(ratings_with("userId", values, tmp_path, parquet=False))[0][c.USER_ID].to_pylist() == [2**53 + 1, 7, 3]


@pytest.mark.parametrize("values", [[[1], [2]], [{"a": 1}, None], [True, False], [dt.time(1), dt.time(2)]])
def test_ids_of_a_type_that_is_none_are_refused(tmp_path, values):
    with pytest.raises(InputRejected, match="userId"):
        read(ratings_with("userId", pa.array(values), tmp_path))


@pytest.mark.parametrize(
    ("written", "expected"),
    [(["4,5", "3", "0,5"], [4.5, 3, 0.5]), (["4.5", "3", "5,0"], [4.5, 3]), (["1,000", "4.5", "3.5"], [4.5, 3.5])],
)
def test_a_decimal_comma_is_decided_by_the_column(tmp_path, written, expected):
    ratings, _, _ = read(ratings_with("rating", pa.array(written), tmp_path, parquet=False), LENIENT)
    assert ratings[c.RATING].to_pylist() == expected


def test_a_decimal_comma_may_come_late(tmp_path):
    written = ["4"] * 3000 + ["4,5"]
    ratings, _, validation = read(ratings_with("rating", pa.array(written), tmp_path, parquet=False))
    assert ratings[c.RATING].to_pylist() == [4.0] * 3000 + [4.5]
    assert "decimal comma" in validation.files[-1].assumptions


GENRES = [["Action", "Sci-Fi"], ["Children's"], None, [], ["Film-Noir", None, " "], [" Drama ", "Romance"]]
EXPECTED = ["Action|Sci-Fi", "Children's", None, None, "Film-Noir", "Drama|Romance"]


def catalogue_of(folder, genres, parquet: bool = True):
    ids = [*range(1, len(genres) + 1)]
    if parquet:
        movies = pa.table({"movieId": ids, "title": ["A"] * len(ids), "genres": genres})
        return read(with_files(folder, {"movies.parquet": movies}), LENIENT)[1]
    lines = io.StringIO()
    csv.writer(lines).writerows(
        [("movieId", "title", "genres"), *((i, "A", text) for i, text in zip(ids, genres, strict=True))]
    )
    return read(with_files(folder, {"movies.csv": lines.getvalue()}), LENIENT)[1]


@pytest.mark.parametrize("type_", [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_view(pa.string())])
def test_lists_of_genres_are_genres(tmp_path, type_):
    if pa.types.is_list_view(type_):
        pytest.importorskip("pyarrow", "22", reason="Parquet of list views")
    assert catalogue_of(tmp_path, pa.array(GENRES, type_))[c.GENRES].to_pylist() == EXPECTED


@pytest.mark.parametrize("write", [str, json.dumps, lambda genres: "[" + ", ".join(genres) + "]", " | ".join, "|".join])
def test_genres_written_as_text(tmp_path, write):
    whole = [["Action", "Sci-Fi"], ["Children's"], ["Film-Noir", "Drama", "War"], ["(no genres listed)"]]
    genres = [write(genres) for genres in whole]
    expected = ["|".join(genres) for genres in whole]
    assert catalogue_of(tmp_path / "csv", genres, parquet=False)[c.GENRES].to_pylist() == expected
    assert catalogue_of(tmp_path / "parquet", pa.array(genres))[c.GENRES].to_pylist() == expected


def test_genres_that_have_names(tmp_path):
    named = [[{"id": 28, "name": "Action"}, {"id": 878, "name": "Sci-Fi"}], []]
    assert catalogue_of(tmp_path / "a", pa.array(named))[c.GENRES].to_pylist() == ["Action|Sci-Fi", None]
    assert catalogue_of(tmp_path / "b", [str(row) for row in named], parquet=False)[c.GENRES].to_pylist() == [
        "Action|Sci-Fi",
        None,
    ]


def test_plain_genres_stay_as_they_are(tmp_path):
    plain = ["Action|Sci-Fi", "(no genres listed)", "", "A B|C-D", "[", "x]"]
    assert catalogue_of(tmp_path, plain, parquet=False)[c.GENRES].to_pylist() == plain
    assert LISTED["genres"].to_pylist()[-1] == "(no genres listed)"


@pytest.mark.parametrize("size", [3, 1000], ids=["few movies", "many movies"])
def test_a_text_gets_its_place_among_few_movies_and_many(size):
    vocabulary = Vocabulary(pa.array([f"tt{place:07d}" for place in range(size)]))
    texts = pa.array(["tt0000002", "tt0000000", None, "tt9999999", "tt0000002"])
    assert vocabulary.places(texts).to_pylist() == [2, 0, None, None, 2]
