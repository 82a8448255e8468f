"""What ids are, by how they lie in files, and the numbers that stand for text."""

import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.inputs import STRICT, csv_text, with_files

from recmodel import schemas as c
from recmodel.data import ids, movielens, values
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected, UsageRejected
from recmodel.schemas import INTEGER, INTEGER_IDS, TEXT, Ids

UUIDS = [uuid.UUID(int=7 << 100), uuid.UUID(int=5)]


def tables(users: pa.Array, movies: pa.Array) -> tuple[pa.Table, pa.Table]:
    """Ratings of each user, in turns of each movie; and the movies."""
    rated = movies.take(pa.array(np.arange(len(users)) % len(movies)))
    ratings = pa.table([users, rated, [4.0] * len(users)], names=["userId", "movieId", "rating"])
    return ratings, pa.table(
        [movies, ["A movie"] * len(movies), [""] * len(movies)], names=["movieId", "title", "genres"]
    )


def in_csv(folder, users, movies):
    ratings, listed = tables(pa.array(users), pa.array(movies))
    return with_files(folder, {"ratings.csv": csv_text(ratings), "movies.csv": csv_text(listed)})


def in_parquet(folder, users, movies):
    ratings, listed = tables(pa.array(users), pa.array(movies))
    return with_files(folder, {"ratings.parquet": ratings, "movies.parquet": listed})


def read_back(folder, limits=STRICT) -> tuple[list, list]:
    """The ids of the users of all ratings, and those of the movies, ascending."""
    catalogue, ratings, validation = movielens.read(folder, limits)
    assert validation.rejected().num_rows == 0
    return ratings.column(c.USER_ID).to_pylist(), catalogue.column(c.MOVIE_ID).to_pylist()


@pytest.mark.parametrize(
    ("users", "kind"),
    [
        ([3, 20, -7], INTEGER),
        (["3", "20", "-7"], INTEGER),
        (["3.0", "20.0", "7.00"], INTEGER),
        ([3.0, 20.0, 2.0**52], INTEGER),
        ([-(2**63), 2**63 - 1], INTEGER),
        (["u-000042", "tt0111161"], TEXT),
        (["007", "7"], TEXT),
        (["+7", "8"], TEXT),
        (["9223372036854775808", "1"], TEXT),
        (["1e5", "2e5"], TEXT),
        (["1.5", "2.5"], TEXT),
        (["8b1a", "77"], TEXT),
        ([*map(str, range(99)), "oops"], INTEGER),  # a mistake of one row
        ([*map(str, range(9)), "guest"], TEXT),
    ],
)
@pytest.mark.parametrize("write", [in_csv, in_parquet])
def test_the_kind_is_decided_by_the_first_rows(tmp_path, write, users, kind):
    assert ids.decide(write(tmp_path, users, [1, 2]), STRICT) == Ids(user=kind, movie=INTEGER)


def test_the_ids_of_movies_are_text_where_one_of_their_tables_has_text(tmp_path):
    assert ids.decide(in_csv(tmp_path, [1, 2], ["tt1", "tt2"]), STRICT) == Ids(movie=TEXT)


def test_the_settings_decide_before_the_files(tmp_path):
    folder = in_csv(tmp_path, ["007", "7"], [2, 11])
    as_text, as_integers = (STRICT.model_copy(update={"ids": kind}) for kind in (TEXT, INTEGER))
    assert read_back(folder, as_text) == (["007", "7"], ["11", "2"])
    assert read_back(folder, as_integers) == ([7, 7], [2, 11])
    assert read_back(in_parquet(tmp_path / "doubles", [7.0, 8.0], [2, 11]), as_text)[0] == ["7", "8"]


def test_leading_zeros_that_integers_lose_are_said(tmp_path):
    users = [*map(str, range(1, 99)), "0012"]
    validation = movielens.read(in_csv(tmp_path, users, [1, 2]), STRICT)[2]
    sentence = next(file.sentence() for file in validation.files if file.file == "ratings.csv")
    assert "userId: leading zeros and plus signs left out (input.ids: text keeps them)" in sentence


def test_uuids_are_read_as_they_are_written(tmp_path):
    stored = pa.array([value.bytes for value in UUIDS], pa.binary(16))
    for kind, column in {"bytes": stored, "uuid": pa.ExtensionArray.from_storage(pa.uuid(), stored)}.items():
        users, _ = read_back(in_parquet(tmp_path / kind, column, [1, 2]))
        assert users == [str(value) for value in UUIDS]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_ids_are_read_in_the_encoding_of_the_file(tmp_path, encoding):
    ratings, movies = tables(pa.array(["müller", "žižek", "plain"]), pa.array(["1"]))
    (tmp_path / "movies.csv").write_text(csv_text(movies))
    (tmp_path / "ratings.csv").write_bytes(csv_text(ratings).encode(encoding))
    assert read_back(tmp_path)[0] == ["müller", "žižek", "plain"]


# Anything but what ends a line, blanks and marks without a width around it, which are not part of an id, and what
# stands for a missing value.
NONE = {"\\N", "NULL", "null", "NaN", "nan", "None", "<NA>", "NA", "N/A", "#N/A"}
AROUND = "".join(character for character in map(chr, range(0x3001)) if character.isspace()) + "\u200b\ufeff"
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\r\x00", exclude_categories=["Cs"]), min_size=1, max_size=8
).map(lambda text: text.strip(AROUND)).filter(
    lambda text: text and text not in NONE and not (text[0] == '"' == text[-1])
)  # fmt: skip


@given(users=st.lists(TEXTS, min_size=1, max_size=6), movies=st.lists(TEXTS, min_size=1, max_size=4, unique=True))
def test_any_text_comes_back_from_csv_and_parquet_alike(tmp_path_factory, users, movies):
    limits = STRICT.model_copy(update={"ids": TEXT})
    base = tmp_path_factory.mktemp("texts")
    expected = users, sorted(movies, key=str.encode)
    assert read_back(in_csv(base / "csv", users, movies), limits) == expected
    assert read_back(in_parquet(base / "parquet", users, movies), limits) == expected


def test_an_id_of_blanks_is_none(tmp_path):
    folder = in_csv(tmp_path, ["u1", "  ", "u3"], ["m1"])
    validation = Validation(STRICT.model_copy(update={"max_rejected_share": 1.0}), Ids(TEXT, TEXT))
    catalogue = movielens.read_catalogue(folder, validation)
    assert movielens.read_ratings(folder, catalogue, validation).column(c.USER_ID).to_pylist() == ["u1", "u3"]
    assert validation.rejected().column("reason").to_pylist() == [
        "is empty, stands for a missing value, or is not UTF-8 text"
    ]


def test_a_model_keeps_its_kind(tmp_path):
    integers, texts = in_csv(tmp_path / "a", [1, 2], [1, 2]), in_csv(tmp_path / "b", ["u1", "u2"], [1, 2])
    of_texts = Ids(user=TEXT)
    assert ids.for_model(integers, STRICT, "m", INTEGER_IDS) == INTEGER_IDS
    assert ids.for_model(texts, STRICT, "m", of_texts) == of_texts
    with pytest.raises(InputRejected, match="ratings.csv, column userId: ids such as 'u1' are text, and model m was"):
        ids.for_model(texts, STRICT, "m", INTEGER_IDS)
    with pytest.raises(InputRejected, match="ids such as '1' are integers, and .* set input.ids to text if they are"):
        ids.for_model(integers, STRICT, "m", of_texts)
    with pytest.raises(UsageRejected, match="input.ids is text, and model m has integers in user_id"):
        ids.for_model(integers, STRICT.model_copy(update={"ids": TEXT}), "m", INTEGER_IDS)


@given(st.lists(st.tuples(TEXTS, st.integers(0, 3)), max_size=20), st.lists(TEXTS, min_size=4, max_size=4, unique=True))
def test_numbers_keep_the_order_of_bytes_and_stand_for_their_ids(pairs, movies):
    movies.sort(key=str.encode)
    users, rated = [user for user, _ in pairs], [place for _, place in pairs]
    schema = c.with_ids(c.RATINGS, Ids(user=TEXT))
    ratings = pa.table([users, rated, [1.0] * len(users), [0] * len(users)], schema=schema)
    nothing = [None] * len(movies)
    catalogue = pa.table([movies, movies, movies, nothing, nothing], schema=c.with_ids(c.CATALOGUE, Ids(TEXT, TEXT)))
    numbered, listed, labels = ids.number(ratings, catalogue)
    assert (numbered.schema, listed.schema) == (c.RATINGS, c.CATALOGUE)
    assert listed.column(c.MOVIE_ID).to_pylist() == [0, 1, 2, 3]
    user, movie = (numbered.column(name).to_numpy() for name in c.PAIRS.names)
    assert [*labels.user_ids(user)] == users
    assert [*labels.movie_ids(movie)] == [movies[place] for place in rated]
    assert [*np.argsort(user, kind="stable")] == sorted(range(len(users)), key=lambda row: users[row].encode())
    assert [*labels.movie_numbers(np.array([movies[2], "none of them"], object))] == [2, ids.ABSENT]


def test_hashes_of_texts_are_the_same_among_other_ids():
    few, many = (ids.Labels(users=pa.array(texts)) for texts in (["b", "d"], ["a", "b", "c", "d"]))
    np.testing.assert_array_equal(few.hashes(c.USER_ID, np.array([0, 1])), many.hashes(c.USER_ID, np.array([1, 3])))
    assert ids.NO_LABELS.hashes(c.USER_ID, np.array([7])).tolist() == [7]


def test_numbers_of_one_catalogue_become_those_of_another(tmp_path):
    """Of the delisted movies only those that were rated are part of what is read, so that the numbers move up."""
    folder = in_csv(tmp_path, ["u1", "u2", "u3"], ["b", "d", "f"])
    known = pa.table([["a", "c", "e"], ["A"] * 3, [""] * 3, [None] * 3, [None] * 3],
                     schema=c.with_ids(c.CATALOGUE, Ids(TEXT, TEXT)))  # fmt: skip
    (folder / "ratings.csv").write_text("userId,movieId,rating\nu1,e,4\nu1,b,4\nu2,f,3\n")
    catalogue, ratings, _ = movielens.read(folder, STRICT, known)
    assert catalogue.column(c.MOVIE_ID).to_pylist() == ["b", "d", "e", "f"]
    assert ratings.column(c.MOVIE_ID).to_pylist() == [2, 0, 3]


@pytest.mark.parametrize("text", ["x' OR '1'='1", "[/]", '" a "', "a\n", "-x", "%s", " a "])
def test_an_id_that_is_typed_is_the_one_that_a_file_holds(text):
    assert ids.typed(text, TEXT) == values.text_ids(pa.array([text, " b"]))[0].as_py()


def test_nothing_is_no_id():
    with pytest.raises(UsageRejected, match="is not the id of a user"):
        ids.typed(" ", TEXT)
