"""Commands of `recmodel` in processes of their own, watched: the seconds and the memory of all of their processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import NamedTuple

import click

from recmodel.records import RunRecord
from recmodel.tables.output import open_output

FIRST_DAY, NEXT_DAY = date(2026, 1, 31), date(2026, 2, 1)
_TICKS = os.sysconf("SC_CLK_TCK")  # per second
_USER_TICKS, _SYSTEM_TICKS, _PARENT = 11, 12, 1  # fields of /proc/…/stat after the name of the program: see proc(5)


class Usage(NamedTuple):
    """What a command used, with all processes below it."""

    seconds: float
    core_seconds: float
    peak_gib: float  # proportional set size, in which a shared page counts once, of all processes together
    further_worker_gib: float  # private memory of the Python worker that has least of it: the first may unpack a model


class Scored(NamedTuple):
    """One `recmodel score`."""

    usage: Usage
    record: RunRecord


def score(folder: Path, data: Path, models: Path, *flags: object, run_date: date = FIRST_DAY) -> Scored:
    """Score into `folder`/output, which is emptied before the first day.

    Raises:
        click.ClickException: the command failed.
    """
    output = folder / "output"
    if run_date == FIRST_DAY:
        shutil.rmtree(output, ignore_errors=True)
    places = ("--data", data, "--models", models, "--output", output)
    usage = run(folder, "score", *places, "--run-date", run_date, *flags)
    return Scored(usage, open_output(output, partial="--users" in flags).read_run(run_date))


def run(folder: Path, *words: object) -> Usage:
    """Run a command, with its logs in `folder`.

    Raises:
        click.ClickException: the command failed.
    """
    logs = {"RECMODEL_PATHS__LOGS": str(folder / "log"), "RECMODEL_SPARK_LOG": str(folder / "spark.log")}
    command = [sys.executable, "-m", "recmodel", *map(str, words)]
    started = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **logs}, stdout=subprocess.DEVNULL)
    ticks: dict[int, int] = {}  # of each process, when it was last seen
    peak, workers = 0, dict[int, int]()
    while process.poll() is None:
        ticks_now = _ticks_of_tree(process.pid)
        ticks |= ticks_now
        proportional, private = 0, dict[int, int]()
        for pid in ticks_now:
            of_process = _memory(pid)
            proportional += of_process["Pss"]
            private[pid] = of_process["Private_Dirty"] + of_process["Private_Clean"]
        peak = max(peak, proportional)
        workers |= {pid: max(private[pid], workers.get(pid, 0)) for pid in filter(_is_worker, private)}
        time.sleep(0.5)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise click.ClickException(f"recmodel {words[0]} ended with exit code {process.returncode}; see {folder}/log")
    further = min(workers.values(), default=0)
    return Usage(seconds, sum(ticks.values()) / _TICKS, peak / 2**30, further / 2**30)


def _ticks_of_tree(root: int) -> dict[int, int]:
    """Return the processor time so far, in clock ticks, of a process and of all below it, by process id."""
    children: dict[int, list[int]] = {}
    ticks = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
            ticks[int(folder.name)] = int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
    tree = [root]
    for pid in tree:
        tree += children.get(pid, [])
    return {pid: ticks[pid] for pid in tree if pid in ticks}


def _memory(pid: int) -> Counter[str]:
    """Return the bytes of a process by kind, as `smaps_rollup` names them; see proc(5)."""
    with suppress(OSError):  # the process has ended
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        return Counter(
            {name: int(amount) << 10 for name, amount, _ in (line.replace(":", "").split() for line in lines)}
        )
    return Counter()


def _is_worker(pid: int) -> bool:
    """Return whether a process is a Python worker of Spark: its parent is one too, the daemon that forks them."""
    with suppress(OSError, IndexError):
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_PARENT]
        return all(b"pyspark.daemon" in Path(f"/proc/{of}/cmdline").read_bytes() for of in (pid, parent))
    return False
