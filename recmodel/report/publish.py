"""Publish: the page of a run becomes a file, and pages of runs that are gone are removed."""

from __future__ import annotations

from datetime import date

from recmodel import storage
from recmodel.errors import ScoringFailed, UsageRejected
from recmodel.pipeline import monitoring, registry
from recmodel.progress import Stages, log
from recmodel.report import facts, findings, page
from recmodel.settings import Settings
from recmodel.tables.base import Output
from recmodel.tables.erasing import Users

_LATEST = "latest.html"


def write(
    output: Output,
    run_date: date,
    settings: Settings,
    stages: Stages | None = None,
    *,
    data: str | None = None,
    models: str | None = None,
    to: str | None = None,
) -> tuple[str, int]:
    """Write the page of a published run, and next to it its findings as JSON; return where it is, and its bytes.

    Args:
        data, models: see `facts.collect`.
        to: another file; then no other page, and no JSON, is touched.

    Raises:
        UsageRejected: the file cannot be written, or the run is not published any more.
    """
    stages = stages or Stages()
    with stages("gather the facts"):
        try:
            collected = facts.collect(output, run_date, settings, models, data)
        except Exception:
            output.published(run_date)  # says so if the run was withdrawn meanwhile
            raise
    with stages("write the page"):
        content = page.render(collected, settings).encode()
        found = findings.findings(collected, settings)
        for finding in found:
            log.info("%s: %s", finding.kind, finding.sentence)
        folder = storage.below(output.location, "reports")
        target = to or storage.below(folder, f"{run_date}.html")
        try:
            storage.write(target, content)
            if not to:
                monitoring.write_findings(output, run_date, [vars(finding) for finding in found])
                if run_date == output.newest():
                    storage.write(storage.below(folder, _LATEST), content)
                remove_old(output)
        except OSError as error:
            raise UsageRejected(f"{target} cannot be written ({error}); give another file with --to") from None
    return target, len(content)


def follow(output: Output) -> None:
    """Let `latest.html` be the page of the run that `latest` shows, and remove the pages of runs that are gone.

    Raises:
        OSError: a page cannot be written or removed.
    """
    folder, newest = storage.below(output.location, "reports"), output.newest()
    page = newest and storage.read(storage.below(folder, f"{newest}.html"))
    if page:
        storage.write(storage.below(folder, _LATEST), page)
    elif _LATEST in storage.names(folder):
        storage.file_system(folder).delete_file(_LATEST)
    remove_old(output)


def erase(output: Output, users: Users) -> list[str]:
    """Take users out of all pages of an output; return the names of the pages that showed any.

    Raises:
        ScoringFailed: a page cannot be read or written.
    """
    folder = storage.below(output.location, "reports")
    changed = []
    try:
        for name in storage.names(folder):
            file = storage.below(folder, name)
            content = (storage.read(file) or b"").decode() if name.endswith(".html") else ""
            without, taken = page.without_users(content, users)
            if taken:
                storage.write(file, without.encode())
                changed.append(name)
    except OSError as error:
        raise ScoringFailed(f"the pages in {folder} still show the users ({error}); call it again") from error
    return changed


def renew_in_mlflow(output: Output, settings: Settings) -> None:
    """Let each version in MLflow have the page of its newest run as it is now; nothing happens where MLflow is off."""
    if not registry.tracking_uri(settings):
        return
    folder = storage.below(output.location, "reports")
    pages = storage.names(folder)
    newest = {output.read_run(day).model_version: f"{day}.html" for day in output.run_dates() if output.is_full(day)}
    for version, name in newest.items():
        if name in pages:
            registry.add_page(settings, version, storage.below(folder, name))


def remove_old(output: Output) -> None:
    """Remove the pages of runs that are not published any more."""
    folder = storage.below(output.location, "reports")
    keep = {_LATEST, *(f"{day}.{kind}" for day in output.run_dates() for kind in ("html", "json"))}
    for name in set(storage.names(folder)) - keep:
        storage.file_system(folder).delete_file(name)
