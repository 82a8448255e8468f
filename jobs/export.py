"""Export a published run to the database that a site reads."""

from __future__ import annotations

from datetime import date

import click

from recmodel import settings
from recmodel.cli import console, options, views
from recmodel.progress import Stages


@click.command(
    short_help="Export a published run to a site's PostgreSQL or Redis.",
    epilog="Examples: recmodel export --to postgresql://recmodel@db.example/shop; recmodel export --to env:SITE_DB "
    "--changed-only; recmodel export --to redis://cache.example:6379/0",
    context_settings=options.CONTEXT,
)
@click.option(
    "--to", required=True, metavar="URL",
    help="postgresql://user@host:5432/database, redis://host:6379/0 (rediss:// with TLS), or env:NAME: the environment "
    "variable that holds such an address. Passwords come from the environment only: PGPASSWORD or ~/.pgpass, "
    "REDISCLI_AUTH, or the address in that variable.",
)  # fmt: skip
@options.output
@options.run_date("A full run other than the newest.")
@click.option("--changed-only", is_flag=True, help="Write and delete only what differs from what is there.")
@click.option(
    "--schema", default="recmodel", show_default=True, metavar="NAME",
    help="PostgreSQL's schema, or what Redis' keys begin with.",
)  # fmt: skip
def export(to: str, output: str | None, run_date: date | None, changed_only: bool, schema: str) -> None:
    """Export the lists, the movies and the similar movies of the newest full run to the database that a site reads.

    Readers see the run before until all of this one is there, and then all of it. A call that is interrupted harms
    nothing, and the same call goes on; a second call finds the run there and does nothing. Users who were erased by
    `forget` since are gone from the database then, too.

    PostgreSQL: read SELECT recommendations FROM recmodel.lists WHERE user_id = 42, or what leaves out movies that are
    bought or no longer sold: conf/sql/serve_postgresql.sql. recmodel.movies and recmodel.similar_movies are there, too.
    conf/README.md says which rights the role that exports and the site need.

    Redis: read in two steps. GET recmodel:current returns a prefix such as recmodel:17; then MGET <prefix>:run
    <prefix>:user:42 returns what is known of the run and a list, as JSON. GET <prefix>:similar:1196 is what is similar
    to a movie, and the set <prefix>:movies what may be recommended.
    """
    from recmodel.pipeline import export as pipeline

    chosen = settings.load(paths={"output": output})
    target = pipeline.target(to)
    console.start_log(chosen.paths.logs, "export", as_json=chosen.monitoring.json_logs)
    so_far = "readers have one whole run, and the same command does what is left to do"
    with console.when_interrupted(lambda: so_far):
        done = pipeline.export(
            chosen.paths.output, run_date, target, Stages(console.show_stage), schema=schema, changed_only=changed_only
        )
    console.conclude(views.exported(target, done))


if __name__ == "__main__":
    console.run(export)
