"""What both benchmarks share: rows of a table with their goals, contenders that take turns, and the table itself."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

LIBRARIES = ("numpy", "tensorflow", "pyspark", "faiss-cpu", "tensorflow-recommenders")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    part: str
    ours: float
    unit: str
    goal: str = ""  # for the ratio, or for `ours` if there is none: such as ">= 20" or "<= 0.9"
    compared: str = ""  # what ours is compared with
    theirs: float | None = None
    ratio: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the goal was 'met' or 'missed'; empty if there is none."""
        if not self.goal:
            return ""
        sign, limit = self.goal.split()
        judged = self.ours if self.ratio is None else self.ratio
        met = judged >= float(limit) if sign == ">=" else judged <= float(limit)
        return "met" if met else "missed"


def medians(contenders: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Measure the seconds of each contender, in turns, after one turn that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeat + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def in_own_process(function: Callable, *arguments: Any, **environment: str) -> Any:
    """Call a function of a module in a new process, whose threads and memory are its own; return what it returns."""
    spawn = multiprocessing.get_context("spawn")
    with patch.dict(os.environ, environment), ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(function, *arguments).result()


def show(rows: list[Row], title: str, as_json: Path | None) -> None:
    """Print the table, and write its rows as JSON if a file is named."""
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    table = Table(title=title, caption=f"{_machine()}; {libraries}")
    for heading in ("", "compared with", "theirs", "ours", "", "ratio", "goal", ""):
        table.add_column(heading)
    for row in rows:
        theirs, ratio = ("" if value is None else f"{value:,.3g}" for value in (row.theirs, row.ratio))
        table.add_row(row.part, row.compared, theirs, f"{row.ours:,.3g}", row.unit, ratio, row.goal, row.verdict)
    Console(width=None if sys.stdout.isatty() else 180).print(table)
    if as_json:
        write_json(as_json, [{**asdict(row), "verdict": row.verdict} for row in rows])


def write_json(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write what was measured as JSON."""
    file.write_text(json.dumps(rows, indent=2) + "\n")


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, Python {platform.python_version()}"
