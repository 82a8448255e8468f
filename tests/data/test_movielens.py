"""A MovieLens directory: which files count, what its movies must be like, and ratings as they are staged."""

import os
import shutil

import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from pyarrow import fs
from support.inputs import (
    HEADER,
    LENIENT,
    STRICT,
    make_catalogue,
    make_ratings,
    read,
    table,
    with_ratings,
    write_movielens,
)

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import movielens as data
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected


def test_csv_gives_typed_columns_and_whole_titles(tmp_path):
    rows = make_ratings()
    ratings, catalogue, validation = read(write_movielens(tmp_path, rows))
    assert ratings.schema == c.RATINGS
    assert list(zip(*(ratings.column(name).to_pylist() for name in c.RATINGS.names), strict=True)) == rows
    assert catalogue.schema == c.CATALOGUE
    assert catalogue.column(c.TITLE).to_pylist() == [
        "Matrix, The (1999)", 'Say "Hi" (2001)', "Emma (1996)", "Emma (1996)", "Amélie (2001)", "Never Rated (1990)",
    ]  # fmt: skip
    assert validation.rows == {"movies.csv": 6, "ratings.csv": len(rows)}


def test_links_give_external_ids_in_their_own_form(tmp_path, toy):
    write_movielens(tmp_path, [])
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0133093,603\n3,0116191,\n")
    rows = {row[c.MOVIE_ID]: row for row in data.read_catalogue(tmp_path, Validation(STRICT)).to_pylist()}
    assert (rows[1][c.IMDB_ID], rows[1][c.TMDB_ID]) == ("0133093", 603)
    assert (rows[3][c.IMDB_ID], rows[3][c.TMDB_ID]) == ("0116191", None)
    assert (rows[4][c.IMDB_ID], rows[4][c.TMDB_ID]) == (None, None)


def test_the_share_of_rejects_decides(tmp_path):
    folder = with_ratings(tmp_path, HEADER + b"1,1,4.0,1\n" * 99 + b"1,1,9,1\n")
    read(folder, STRICT.model_copy(update={"max_rejected_share": 0.01}))
    with pytest.raises(InputRejected, match="1 of 100 rows refused"):
        read(folder, STRICT.model_copy(update={"max_rejected_share": 0.009}))


def test_a_movie_that_comes_twice_is_refused(tmp_path):
    folder = write_movielens(tmp_path, [], "movieId,title,genres\n1,A,X\n2,B,X\n1,C,X\n3, ,X\n")
    with pytest.raises(InputRejected, match=r"row 4, column movieId: '1' appears a second time"):
        read(folder)
    _, catalogue, validation = read(folder, LENIENT)
    assert catalogue.column(c.TITLE).to_pylist() == ["A", "B"]
    assert validation.rejected().column("reason").to_pylist() == ["appears a second time", "is not a title"]


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("ratings.csv", None, "holds neither ratings.csv nor ratings.parquet"),
        ("movies.csv", None, "holds neither movies.csv nor movies.parquet"),
        ("ratings.csv", b"", "ratings.csv is empty"),
        ("ratings.csv", b"userId,rating,timestamp\n", "ratings.csv has no column movieId (it has userId, rating"),
        ("movies.csv", b"movieId,title,genres\n", "movies.csv holds no movies"),
        ("ratings.parquet", b"PAR1 not really", "ratings.parquet cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_sentence(tmp_path, file, content, sentence):
    folder = write_movielens(tmp_path, [])
    if file == "ratings.parquet":
        (folder / "ratings.csv").unlink()
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(InputRejected) as caught:
        read(folder)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_title_of_a_million_characters_and_one_of_html_are_titles(tmp_path):
    long, html = "Ω" * 1_000_000, "<script>alert('1')</script>; DROP TABLE movies"
    folder = write_movielens(tmp_path, [(1, 1, 4.0, 1)], f'movieId,title,genres\n1,{long},X\n2,"{html}",X\n')
    _, catalogue, _ = read(folder)
    assert catalogue.column(c.TITLE).to_pylist() == [long, html]


def test_input_on_s3_is_that_of_the_folder(s3, toy):
    source = f"{s3}/input/toy"
    fs.copy_files(str(toy), "", fs.LocalFileSystem(), storage.file_system(source))
    assert data.data_dir(source, "") == source
    assert read(source)[:2] == read(toy)[:2]
    assert data.identity(source) == data.identity(source) != []
    with pytest.raises(InputRejected, match="s3://no-such-bucket/x holds neither ratings nor movies"):
        data.data_dir("s3://no-such-bucket/x", "")


@pytest.mark.parametrize("kind", ["parts", "delta", "zip"])
def test_folders_and_zip_files_on_s3(s3, tmp_path, toy, kind):
    local = write_movielens(tmp_path / "data", make_ratings())
    (local / "ratings.csv").unlink()
    if kind == "delta":
        write_deltalake(str(local / "ratings.parquet"), table(make_ratings())[:9])
        write_deltalake(str(local / "ratings.parquet"), table(make_ratings()), mode="overwrite")
    else:
        (local / "ratings/at=x y%3A").mkdir(parents=True)
        pq.write_table(table(make_ratings()), local / "ratings/at=x y%3A/part-0.parquet")
    source, place = f"{s3}/input/{kind}", local
    if kind == "zip":
        place = tmp_path / "zipped"
        shutil.make_archive(str(place / "data"), "zip", local)
    fs.copy_files(str(place), "", fs.LocalFileSystem(), storage.file_system(source))
    copies = [data.data_dir(f"{source}/data.zip" if kind == "zip" else source, "") for _ in range(2)]
    assert (copies[0] == source) == (kind != "zip")
    assert read(copies[0])[0] == read(toy)[0]
    assert data.identity(copies[0]) == data.identity(copies[1])


def test_a_history_has_the_ratings_that_count():
    rows = [(2, 10, 3.0, 1), (7, 10, 5.0, 1), (2, 30, 4.0, 9), (2, 10, 1.0, 5), (2, 30, 2.0, 9)]
    batches, catalogue = table(rows).to_batches(max_chunksize=2), make_catalogue([(10, "A", ""), (30, "B", "")])
    movie_ids, ratings = data.history_of(2, batches, catalogue)
    assert dict(zip(movie_ids.tolist(), ratings.tolist(), strict=True)) == {10: 1.0, 30: 4.0}
    assert len(data.history_of(3, batches, catalogue)[0]) == 0


def test_the_number_of_ratings_is_estimated_without_reading_them(tmp_path):
    rows = make_ratings()
    folder = write_movielens(tmp_path, rows)
    size = data.ratings_size(folder)
    assert size == ("ratings.csv", (folder / "ratings.csv").stat().st_size, None)
    assert data.count_ratings(folder) == len(rows)
    assert data.estimate_ratings(folder, 77, size.file, size.bytes) == 77  # the same file
    assert data.estimate_ratings(folder, 77, size.file, size.bytes // 2) in (154, 155)
    for file, size_in_bytes in (("ratings.parquet", size.bytes), (None, None)):
        assert data.estimate_ratings(folder, 77, file, size_in_bytes) == len(rows)
    (folder / "ratings.csv").unlink()
    (folder / "ratings.parquet").mkdir()
    for part in range(2):
        pq.write_table(table(rows), folder / f"ratings.parquet/{part}.parquet")
    assert data.ratings_size(folder).rows == data.count_ratings(folder) == 2 * len(rows)
    assert data.estimate_ratings(folder, 77, "ratings.parquet", 1) == 2 * len(rows)
    (folder / "ratings.parquet/2.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputRejected, match="ratings.parquet cannot be read"):
        data.ratings_size(folder)


def test_another_file_or_time_is_another_identity(tmp_path):
    folder = write_movielens(tmp_path / "data", make_ratings())
    path = folder / "ratings.csv"
    identity = data.identity(path)
    assert identity == [("ratings.csv", path.stat().st_size, path.stat().st_mtime_ns)]
    assert [name for name, _, _ in data.identity(folder)] == ["data/movies.csv", "data/ratings.csv"]
    os.utime(path, ns=(0, 10**18))
    assert data.identity(path) != identity
