"""Ids that are text: the rows of the same input with integers, whose order they keep."""

import csv
from datetime import date
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.inputs import MOVIES_CSV, REPEATS, make_ratings, write_movielens
from support.processes import here
from support.runs import run_json, without_time

import recmodel
from recmodel import schemas as c
from recmodel.models import versions
from recmodel.tables.output import open_output

# In the order of the integers: that of UTF-8 bytes.
MOVIES = {
    1: "007",
    2: "7",
    3: "A,1",
    4: """a "b"'; DROP TABLE movies; --""",
    10: "tt0111161",
    11: "~",
    77: "é",
    99: "日本",
}
NIGHTS = ("2026-02-01", "2026-02-02")
TABLES = (c.RECOMMENDATIONS_TABLE, c.PREDICTED_RATINGS_TABLE, c.USERS_TABLE, c.REJECTS_TABLE)


HOSTILE = (
    "",
    "'; DROP TABLE users; --",
    '" OR ""="',
    "👍🏽",
    "\\",
    "%s{}$(x)`x`",
    "<b>",
    "*?[a]",
    "\u202e",
    "x" * 300,
    ",;|\t.",
)


def user(number: int) -> str:
    return f"user-{number:08}{HOSTILE[number % len(HOSTILE)]}"


def relabelled(folder, target) -> None:
    """Copy a MovieLens directory with text for ids."""
    target.mkdir()
    for file in folder.glob("*.csv"):
        with file.open(newline="") as source, (target / file.name).open("w", newline="") as copy:
            rows = csv.DictReader(source)
            written = csv.DictWriter(copy, rows.fieldnames)
            written.writeheader()
            for row in rows:
                if "userId" in row:
                    row["userId"] = user(int(row["userId"]))
                if "movieId" in row:
                    row["movieId"] = MOVIES[int(row["movieId"])]
                written.writerow(row)


def labels_of(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """What the rows of integers are with text."""
    for name in rows.schema.names:
        if name in (c.USER_ID, c.MOVIE_ID, c.BECAUSE_MOVIE_ID):
            label = user if name == c.USER_ID else MOVIES.get
            column = [None if value is None else label(value) for value in rows.column(name).to_pylist()]
            rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(column, pa.string()))
    assert rows.schema.names == schema.names
    return rows


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two nights of input, users to ask for and pairs to deny, by the kind of their ids; and models of both presets."""
    base = tmp_path_factory.mktemp("ids")
    first = [*make_ratings(), (90, 1, 3.0, 5), *REPEATS]
    second = [*(row for row in first if row[0] != 3), (4, 11, 5.0, 2_000_000), (51, 99, 3.0, 2_000_000)]
    tonight = "\n".join(line for line in MOVIES_CSV.splitlines() if not line.startswith("10,"))
    folders = {"integer": base / "integer", "text": base / "text"}
    write_movielens(folders["integer"] / NIGHTS[0], first)
    write_movielens(folders["integer"] / NIGHTS[1], second, f"{tonight}\n77,Brand New (2026),Comedy\n")
    asked = folders["integer"] / "asked"
    asked.mkdir()
    (asked / "users.csv").write_text("userId\n1\n2\n90\n12345\n")
    (asked / "pairs.csv").write_text("userId,movieId\n1,2\n2,11\n2,99\n90,1\n")
    folders["text"].mkdir()
    for folder in folders["integer"].iterdir():
        relabelled(folder, folders["text"] / folder.name)
    for folder in folders.values():
        for preset in ("default", "joint"):
            recmodel.train(folder / NIGHTS[0], folder / "models", preset=preset, test_share=0)
    return SimpleNamespace(**folders)


def runs_of(folder, score_here, monkeypatch) -> dict[str, object]:
    """Score two incremental nights, and users with rules and the whole matrix, with the preset of each."""
    default, joint = (next((folder / "models").glob(f"*-{preset}-*")).name for preset in ("default", "joint"))
    monkeypatch.setenv("RECMODEL_SCORING__USERS_PER_TASK", "10")
    model = ("--models", folder / "models", "--model-version")
    for night in NIGHTS:
        output = ("--output", folder / "nights", "--run-date", night)
        score_here("--data", folder / night, *model, default, *output, "--incremental")
    with monkeypatch.context() as patch:
        patch.setenv("RECMODEL_RULES__DENY_PAIRS", str(folder / "asked/pairs.csv"))
        patch.setenv("RECMODEL_RULES__MAX_PER_GENRE", "1")
        patch.setenv("RECMODEL_RULES__DENY__MOVIES", '["007"]' if folder.name == "text" else "[1]")
        asked = ("--users", folder / "asked/users.csv", "--output", folder / "asked", "--run-date", NIGHTS[0])
        policy = ("--rank-by", "two-stage", "--predicted-ratings", "all")
        score_here("--data", folder / NIGHTS[0], *model, joint, *asked, *policy)
    return {"nights": open_output(folder / "nights"), "asked": open_output(folder / "asked", partial=True)}


def test_text_gives_the_rows_of_integers_in_their_order(inputs, score_here, monkeypatch):
    by_kind = [runs_of(folder, score_here, monkeypatch) for folder in (inputs.integer, inputs.text)]
    for output, day in (("nights", NIGHTS[0]), ("nights", NIGHTS[1]), ("asked", NIGHTS[0])):
        integers, texts = ([of[output].dataset(name, date.fromisoformat(day)) for name in TABLES] for of in by_kind)
        for name, expected, found in zip(TABLES, integers, texts, strict=True):
            rows, others = found.to_table(), labels_of(expected.to_table(), found.schema)
            if name == c.RECOMMENDATIONS_TABLE:
                rows, others = without_time(rows), without_time(others)
            varying = [column for column in (c.MODEL_VERSION, c.FINGERPRINT, "value") if column in rows.schema.names]
            rows, others = (some.drop_columns(varying).to_pylist() for some in (rows, others))
            if name != c.RECOMMENDATIONS_TABLE:  # the others are in no order
                rows, others = (sorted(some, key=lambda row: str([*row.values()])) for some in (rows, others))
            assert rows or name == c.REJECTS_TABLE
            assert rows == others, (output, name)
        place = "asked/partial" if output == "asked" else output
        runs = [run_json(folder / place, day) for folder in (inputs.integer, inputs.text)]
        for run in runs:
            assert run["ids"] == dict.fromkeys(("user", "movie"), "text" if run is runs[1] else "integer")
        for field in ("users_scored", "rows_rejected", "ratings_superseded", "movies_new", "movies_delisted"):
            assert runs[0][field] == runs[1][field]
    assert runs[1]["users_asked"] == 4
    tonight = open_output(inputs.text / "nights").recommendations(date.fromisoformat(NIGHTS[1])).to_table()
    assert {"é"} < {*tonight.column(c.MOVIE_ID).to_pylist()} < {*MOVIES.values()} - {"tt0111161"}
    assert pc.all(pc.equal(tonight.sort_by(c.USER_ID).column(c.USER_ID), tonight.column(c.USER_ID))).as_py()
    left = {*map(user, range(1, 12))}
    forget = ("forget", *left, "--now", "--output", inputs.text / "nights")
    assert here(*forget).returncode == 0
    tonight = open_output(inputs.text / "nights").recommendations(date.fromisoformat(NIGHTS[1])).to_table()
    assert {*map(user, range(12, 41))} <= {*tonight.column(c.USER_ID).to_pylist()} <= {*map(user, range(100))} - left
    assert "nothing was found of 11 users" in here(*forget).stdout


def test_users_and_movies_are_asked_for_by_their_text(inputs):
    paths = ("--data", inputs.text / NIGHTS[0], "--models", inputs.text / "models")
    assert "Matrix, The (1999)" in here("predict", user(2), "007", *paths).stdout
    assert "are integers" in here("predict", "u-2", "1", "--models", inputs.integer / "models").stderr


def test_a_table_of_the_other_kind_is_refused(inputs, tmp_path):
    """By the model, and by the tables that are published already."""
    for data, models in ((inputs.text, inputs.integer), (inputs.integer, inputs.text)):
        paths = ("--data", data / NIGHTS[0], "--models", models / "models")
        for command in (("train",), ("score", "--output", tmp_path)):
            refused = here(*command, *paths)
            assert refused.returncode == 3, refused.stderr
            assert "ids keep their kind" in refused.stderr
    before = versions.list_versions(inputs.text / "models")
    paths = ("--data", inputs.text / NIGHTS[0], "--models", inputs.text / "models", "--output")
    refused = here("score", *paths, inputs.integer / "nights")
    assert refused.returncode == 2
    assert "holds tables with integer ids" in refused.stderr
    assert versions.list_versions(inputs.text / "models") == before
