"""Write a folder to start from: settings, presets, a crontab and units of systemd."""

from __future__ import annotations

from pathlib import Path

import click

from recmodel import settings
from recmodel.cli import console, options
from recmodel.pipeline import folder as pipeline


@click.command(
    short_help="Write a folder to start from: settings and schedules.",
    epilog="Example: recmodel init /srv/recommendations --data /data/ratings",
    context_settings=options.CONTEXT,
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.data
def init(folder: Path, data: str | None) -> None:
    """Write DIR/conf with settings and presets of your own, a crontab, and units of systemd that use them.

    Models, tables and logs will be in DIR/var. Nothing that is there is overwritten.
    """
    written = pipeline.init(folder, data or settings.load().paths.data)
    for path in written:
        console.out.print(f"{path} written", soft_wrap=True)
    conf = written[0].parent
    console.out.print(
        f"""
Check the settings: export RECMODEL_CONF={conf}; {pipeline.command()} settings
Try a night: {pipeline.command()} nightly --dry-run
Then, with a user of its own who owns {conf.parent}:
  cron: correct MAILTO in {conf.parent}/crontab, then: crontab {conf.parent}/crontab
  systemd: set User and Group in {conf.parent}/systemd/recmodel.service, copy the units to /etc/systemd/system""",
        soft_wrap=True,
    )


if __name__ == "__main__":
    console.run(init)
