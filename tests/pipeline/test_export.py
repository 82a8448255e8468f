"""Where an export goes, what it needs, and that passwords stay in the environment; nothing here reaches a server."""

import sys

import pytest
from support import served
from support.processes import here, said
from support.runs import DAY, publish

import recmodel.pipeline
from recmodel.errors import UsageRejected
from recmodel.pipeline import export
from recmodel.progress import Stages
from recmodel.tables.output import open_output


@pytest.mark.parametrize(
    ("to", "kind", "shown"),
    [
        ("postgresql://site@db.example:5433/shop?sslmode=require", "PostgreSQL", "postgresql://db.example:5433/shop"),
        ("postgres:///shop", "PostgreSQL", "postgres:///shop"),
        ("redis://cache.example:6379/0", "Redis", "redis://cache.example:6379/0"),
        ("rediss://site@cache.example", "Redis", "rediss://cache.example"),
        ("env:SITE_DB", "PostgreSQL", "env:SITE_DB"),
    ],
)
def test_the_kind_of_database_is_that_of_the_address(monkeypatch, to, kind, shown):
    monkeypatch.setenv("SITE_DB", "postgresql://site:open-sesame@db.example/shop")
    target = export.target(to)
    assert (target.kind, target.shown) == (kind, shown)


@pytest.mark.parametrize(
    "to",
    [
        "postgresql://site:open-sesame@db.example/shop", "postgresql://db.example/shop?user=site&password=open-sesame",
        "redis://:open-sesame@cache.example", "postgresql://site:open-sesame@[::1]/shop",
        "postgresql://db.example/shop?sslpassword=open-sesame",
    ],
)  # fmt: skip
def test_a_password_on_the_command_line_is_refused_and_not_repeated(to):
    result = here("export", "--to", to)
    assert (result.returncode, "holds a password" in said(result)) == (2, True)
    assert "open-sesame" not in said(result)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Missing option '--to'"),
        (["--to", "mysql://db/shop"], "mysql://… is no database that can be exported to"),
        (["--to", "shop"], "no database that can be exported to"),
        (["--to", "env:NOT_SET"], "the environment variable NOT_SET is not set"),
        (["--to", "redis://h", "--schema", "a b"], "'a b' cannot be the schema"),
        (["--to", "redis://h", "--run-date", "soon"], "soon"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_opened(words, sentence):
    result = here("export", *words)
    assert (result.returncode, sentence in said(result)) == (2, True), said(result)


def test_runs_that_no_site_could_serve_from_are_refused(tmp_path):
    def refusal() -> str:
        with pytest.raises(UsageRejected) as refused:
            export.export(str(tmp_path / "output"), None, export.target("redis://127.0.0.1:1"), Stages())
        return str(refused.value)

    pytest.importorskip("redis")
    assert "holds no published run" in refusal()
    served.publish(tmp_path / "output", [1], full=False)
    assert f"the run of {DAY} is a partial one" in refusal()
    publish(open_output(tmp_path / "output"), "of an earlier version")
    for file in (tmp_path / "output/lists" / f"run_date={DAY}").glob("*.parquet"):
        file.unlink()
    assert f"the run of {DAY} has no table lists, as it was made before 0.3.2; score {DAY} again" in refusal()


@pytest.mark.parametrize(("to", "package"), [("postgresql://h/d", "psycopg"), ("redis://h", "redis")])
def test_a_missing_package_is_named(monkeypatch, to, package):
    extra = to.partition(":")[0]
    monkeypatch.delitem(sys.modules, f"recmodel.pipeline.to_{extra}", raising=False)
    monkeypatch.delattr(recmodel.pipeline, f"to_{extra}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageRejected, match=rf"needs the package {package}; install .* 'recmodel\[{extra}\]'"):
        export.export("nowhere", None, export.target(to), Stages())
