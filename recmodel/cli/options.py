"""The command-line flags that several jobs share. A flag that is not given leaves the setting as it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import click
from click.shell_completion import CompletionItem

from recmodel import dates, storage
from recmodel.cli import completion
from recmodel.settings import absolute_data

CONTEXT = {"max_content_width": 100, "help_option_names": ["-h", "--help"]}


def _data(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    return None if value is None else absolute_data(value)


def path(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Make a path absolute from where the command is typed, not from where it runs (a click callback)."""
    return None if value is None else storage.absolute(value)


_SPARK_SWITCHES = ("--supervise", "--verbose")
_SPARK_VALUES = (
    "--deploy-mode", "--name", "--jars", "--packages", "--exclude-packages", "--repositories", "--py-files", "--files",
    "--archives", "--conf", "--properties-file", "--driver-memory", "--driver-java-options", "--driver-library-path",
    "--driver-class-path", "--driver-cores", "--executor-memory", "--executor-cores", "--num-executors",
    "--total-executor-cores", "--queue", "--principal", "--keytab", "--proxy-user",
)  # fmt: skip
_FOR_SPARK = "flags of spark-submit"  # a key of click's context


def spark(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all flags of spark-submit to a command, which does not get them itself; see `for_spark`."""

    def keep(context: click.Context, flag: click.Parameter, value: tuple[str, ...] | bool) -> None:
        given = [flag.opts[0]] if value is True else [part for one in value or () for part in (flag.opts[0], one)]
        context.meta.setdefault(_FOR_SPARK, []).extend(given)

    for name in _SPARK_SWITCHES:
        command = click.option(name, is_flag=True, hidden=True, expose_value=False, callback=keep)(command)
    for name in _SPARK_VALUES:
        command = click.option(name, multiple=True, hidden=True, expose_value=False, callback=keep)(command)
    return click.option(
        "--master", metavar="URL", multiple=True, expose_value=False, callback=keep,
        help="Where Spark runs, such as local[8] or spark://host:7077. All flags of spark-submit are understood.",
    )(command)  # fmt: skip


def for_spark(context: click.Context | None = None) -> list[str]:
    """Return the flags of spark-submit that were given to a command, by default the running one, with their values."""
    return list((context or click.get_current_context()).meta.get(_FOR_SPARK, ()))


def passing_on_to(other: click.Command) -> type[click.Command]:
    """Return the class of a command that passes flags which it does not know on to another one.

    Its help and completion offer these, too.
    """

    class PassingOn(click.Command):
        def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            super().format_options(ctx, formatter)
            own = {parameter.name for parameter in self.params}
            records = [flag.get_help_record(ctx) for flag in other.params if flag.name not in own]
            with formatter.section(f"Flags of {other.name}, which it takes too"):
                formatter.write_dl([record for record in records if record])

        def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
            for flag in other.params:
                if ctx.args[-1:] and ctx.args[-1] in flag.opts:  # whose value is to be completed
                    return flag.shell_complete(ctx, incomplete)
            own = super().shell_complete(ctx, incomplete)
            names = {item.value for item in own}
            return own + [item for item in other.shell_complete(ctx, incomplete) if item.value not in names]

    return PassingOn


data = click.option(
    "--data",
    metavar="DIR",
    callback=_data,
    help="Directory with ratings and movies, or a MovieLens zip file, as a path or a URI; table:DB; "
    "iceberg:CATALOG.NAMESPACE; or the word sample.",
)
models = click.option("--models", metavar="DIR", callback=path, help="Where model versions live: a path or a URI.")
model_version = click.option(
    "--model-version",
    metavar="V",
    shell_complete=completion.versions,
    help="A version other than CURRENT, or MLflow's models:/NAME@ALIAS or models:/NAME/NUMBER.",
)
presets = click.option(
    "--presets", metavar="FILE", callback=path, help="Presets of your own, in addition to those of conf/presets.yaml."
)
dry_run = click.option(
    "--dry-run", is_flag=True, help="Check everything that can be checked beforehand, and print what would happen."
)
output = click.option(
    "--output", metavar="DIR", callback=path, help="Where the tables are published: a path, or a URI (as Delta tables)."
)


as_of = click.option(
    "--as-of", metavar="WHEN",
    help="Use only ratings up to this date (the end of its day in UTC) or time, such as 2026-01-31T12:00.",
)  # fmt: skip


# Between a back-fill and its steps: the last time that any of its dates needs ratings of; empty: all there are.
read_until = click.option("--read-until", hidden=True)


def _day(_context: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    return None if value is None else dates.parse_date(value, parameter.opts[0])


def run_date(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the flag `--run-date` of one date, with that help."""
    return click.option(
        "--run-date", metavar="DATE", callback=_day, shell_complete=completion.run_dates, help=help_text
    )


allow_future = click.option(
    "--allow-future", is_flag=True, help="Accept a run date after tomorrow, which is otherwise taken for a mistake."
)


def varied(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return fields of a preset and the values to try, of `FIELD=V,…`."""
    parts = [text.partition("=") for text in given]
    if not all(values for _, _, values in parts):
        raise click.BadParameter("it takes a field and values, such as variety=0.1,0.2")
    return tuple((field, tuple(values.split(","))) for field, _, values in parts)
