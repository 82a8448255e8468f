"""Preflight: what a command needs of the machine and its environment, checked in milliseconds before any work.

Each check that fails is one sentence with the cause and the remedy, exit code 2. What only the input decides is checked
where it is read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from recmodel import storage
from recmodel.errors import UsageRejected
from recmodel.formatting import NBSP
from recmodel.progress import log
from recmodel.schemas import INTEGER_IDS, Ids
from recmodel.settings import Settings
from recmodel.spark import launch
from recmodel.version import __version__

_LEAST_JAVA = 17
_LIBRARIES = ("tensorflow", "numpy", "scipy", "pandas", "pyarrow")  # of Spark's Python workers
_SECONDS = 20  # that another program may take to say what it is


def check(settings: Settings, *, spark: bool = False, spark_flags: Sequence[str] = (), **folders: str) -> None:
    """Check what can be checked before any work; change nothing.

    Args:
        spark: whether Spark is started.
        spark_flags: see `check_spark`.
        folders: that files are written to, by the flag that names them.

    Raises:
        UsageRejected: the command cannot succeed.
    """
    check_folder(settings.paths.logs, "set paths.logs, or RECMODEL_PATHS__LOGS")
    for flag, folder in folders.items():
        check_folder(folder, f"choose another --{flag}")
    check_temporary_folder()
    if spark:
        check_spark(spark_flags)


# -- folders -----------------------------------------------------------------------------------------------------------


def check_folder(folder: str, remedy: str) -> None:
    """Refuse a local folder in which no file can be made; make nothing."""
    if not storage.is_uri(folder) and not storage.is_writable(Path(folder)):
        nearest = storage.nearest_folder(Path(folder))
        why = "is read-only, or belongs to somebody else" if nearest.is_dir() else "is no folder"
        raise UsageRejected(f"cannot write below {folder}: {nearest} {why}; {remedy}")


def check_temporary_folder() -> None:
    """Refuse a temporary folder that Python, or Java with its compiled libraries, cannot use."""
    wanted = os.environ.get("TMPDIR")
    remedy = "set TMPDIR to another folder"
    try:
        folder = tempfile.gettempdir()  # where Python could write a few bytes
    except FileNotFoundError:
        raise UsageRejected(f"no temporary folder has room for a file ({wanted or '/tmp'}, …); {remedy}") from None
    if wanted and os.path.abspath(wanted) != os.path.abspath(folder):
        raise UsageRejected(f"TMPDIR is {wanted}, where no file can be written (missing, read-only or full); {remedy}")
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise UsageRejected(
            f"{folder} is mounted noexec, so Java cannot load the libraries that it puts there; {remedy}"
        )


# Measured on MovieLens small and 25M, in bytes of Parquet, and rounded up: per row of recommendations, per entry of
# lists, per pair of predicted_ratings, per user of users, and per movie of movies and of similar_movies. Ids that are
# text take twice that. A model is in the broadcast's file, and in what each worker unpacks for a moment.
_ROW, _ENTRY, _PAIR, _USER, _MOVIE, _COPIES = 28, 14, 8, 10, 200, 8


def bytes_of_run(
    *, users: int, top_n: int, reserve: int, rated: int, movies: int, model_bytes: int, ids: Ids = INTEGER_IDS
) -> tuple[int, int]:
    """Estimate what a run writes to its output after it has staged the input, and to the temporary folder, in bytes.

    Args:
        rated: the movies whose predicted ratings are written, for each user.
        movies: of the catalogue.
    """
    of_user = top_n * _ROW + (top_n + reserve) * _ENTRY + rated * _PAIR + _USER
    tables = users * of_user + movies * _MOVIE
    return tables * (1 if ids == INTEGER_IDS else 2), model_bytes * _COPIES


def room(folders: Iterable[str]) -> str:
    """Say how much room local folders have."""
    local = [folder for folder in folders if not storage.is_uri(folder)]
    return ", ".join(f"{folder}: {_size(shutil.disk_usage(folder).free)} free" for folder in local)


def check_space(needs: Mapping[str, int]) -> None:
    """Refuse a run that will not fit.

    Args:
        needs: bytes by folder; those on one file system are added up, and URIs have any room.
    """
    by_disk: dict[int, tuple[Path, int]] = {}
    for location, needed in needs.items():
        if not storage.is_uri(location):
            folder = storage.nearest_folder(Path(location))
            first, others = by_disk.get(folder.stat().st_dev, (Path(location), 0))
            by_disk[folder.stat().st_dev] = first, others + needed
    for folder, needed in by_disk.values():
        free = shutil.disk_usage(storage.nearest_folder(folder)).free
        if free < needed:
            raise UsageRejected(
                f"the disk of {folder} has {_size(free)} free, and this run needs about {_size(needed)}; make room, or "
                "choose another folder"
            )


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f}{NBSP}GiB" if count >= 2**30 else f"{count / 2**20:,.1f}{NBSP}MiB"


# -- Spark -------------------------------------------------------------------------------------------------------------


def check_spark(flags: Sequence[str] = ()) -> None:
    """Check what Spark needs on this machine; its workers only, if spark-submit has started it already.

    Args:
        flags: those of spark-submit, if `launch.prepare` has not got them.

    Raises:
        UsageRejected: Spark, or its workers, cannot start.
    """
    spark_log, python = os.environ.get("RECMODEL_SPARK_LOG"), os.environ.get("PYSPARK_PYTHON")
    if not launch.is_submitted():
        check_spark_home(os.environ.get("SPARK_HOME"))
        check_java(os.environ)
        if spark_log:
            check_folder(str(Path(spark_log).absolute().parent), "set RECMODEL_SPARK_LOG to another file")
    if launch.master(flags).startswith("local"):  # elsewhere, the workers' Python and folder are not here
        if python:
            check_worker_python(python)
        if sys.version_info < (3, 11):  # newer ones leave the working directory out; see `session.start`
            check_working_directory(os.listdir())


def check_spark_home(home: str | None) -> None:
    """Refuse a SPARK_HOME without a Spark."""
    if home and not Path(home, "bin/spark-submit").is_file():
        raise UsageRejected(
            f"SPARK_HOME is {home}, which has no bin/spark-submit; correct it, or unset it to use the Spark that is "
            "installed with this package"
        )


def check_java(environment: Mapping[str, str]) -> None:
    """Refuse a missing or old Java: that of JAVA_HOME, or else of the PATH."""
    home = environment.get("JAVA_HOME")
    java = shutil.which(str(Path(home, "bin/java")) if home else "java", path=environment.get("PATH"))
    remedy = f"install Java {_LEAST_JAVA} or newer (Debian: openjdk-{_LEAST_JAVA}-jre-headless), or set JAVA_HOME to it"
    if java is None:
        raise UsageRejected(f"no Java found{f' in JAVA_HOME, {home}' if home else ''}; {remedy}")
    version = java_version(Path(java))
    if version is not None and version < _LEAST_JAVA:
        raise UsageRejected(f"{f'JAVA_HOME, {home},' if home else java} is Java {version}, too old for Spark; {remedy}")


def java_version(java: Path) -> int | None:
    """Return the major version of a Java, from the file that is next to it or otherwise by asking it; None: unknown."""
    release = java.resolve().parent.parent / "release"
    try:
        text = release.read_text(errors="replace")
    except OSError:
        try:
            asked = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=_SECONDS)
            text = asked.stderr
        except (OSError, subprocess.SubprocessError):
            return None
    found = re.search(r'^JAVA_VERSION="([^"]+)"|version "([^"]+)"', text, flags=re.MULTILINE)
    parts = re.split(r"\D+", (found[1] or found[2]) if found else "")
    numbers = [int(part) for part in parts if part]
    return (numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]) if numbers else None  # 1.8 is Java 8


def check_working_directory(names: Iterable[str]) -> None:
    """Refuse files that Spark's Python workers would import in place of modules of Python or of their libraries."""
    taken = {*sys.stdlib_module_names, *_LIBRARIES}
    for name in sorted(names):
        if name.endswith(".py") and name.removesuffix(".py") in taken:
            raise UsageRejected(
                f"the working directory holds {name}, which Spark's workers would import in place of a module of "
                "their own; start the command in another folder, or use Python 3.11 or newer"
            )


def without_working_directory() -> dict[str, str]:
    """Return an environment in which Python 3.11 or newer imports nothing that lies in the working directory."""
    package_is_here = Path(__file__).resolve().parents[2] == Path.cwd()  # a checkout that is not installed
    return {**os.environ} if package_is_here else {**os.environ, "PYTHONSAFEPATH": "1"}


# What a Python has, as one line of JSON; nothing large is imported.
_PROBE = f"""
import importlib.metadata, importlib.util, json, sys
def version(name):
    try: return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: return "?" if importlib.util.find_spec(name) else None
has = {{name: version(name) for name in {_LIBRARIES}}}
try: from recmodel.version import __version__ as own
except ImportError: own = None
print(json.dumps({{"python": "%d.%d" % sys.version_info[:2], "recmodel": own, **has}}))
"""


def check_worker_python(python: str) -> None:
    """Refuse a Python of Spark's workers that lacks what they need; warn of other versions than the driver's."""
    path = shutil.which(python)
    if path is None:
        raise UsageRejected(f"PYSPARK_PYTHON is {python}, which is no program; {_PYTHON_REMEDY}")
    own = Path(sys.executable)
    if Path(path).parent == own.parent and Path(path).samefile(own):
        return
    try:
        asked = subprocess.run([path, "-c", _PROBE], capture_output=True, text=True, check=True, timeout=_SECONDS,
                               env=without_working_directory())  # fmt: skip
        has = json.loads(asked.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        raise UsageRejected(f"PYSPARK_PYTHON is {python}, which is no working Python; {_PYTHON_REMEDY}") from None
    refusal, warning = compare_pythons(has, driver_python())
    if refusal:
        raise UsageRejected(f"PYSPARK_PYTHON is {python}, {refusal}; {_PYTHON_REMEDY}")
    if warning:
        log.warning("PYSPARK_PYTHON is %s, %s; rows may differ in their last digits", python, warning)


_PYTHON_REMEDY = f"unset it, or set it to a Python with recmodel {__version__} and its libraries"


def driver_python() -> dict[str, str]:
    """Return what this Python has, as the probe of another one does."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return {"python": python, "recmodel": __version__, **{name: _version(name) for name in _LIBRARIES}}


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "?"  # a build of another name, such as tensorflow-cpu


def compare_pythons(has: Mapping[str, Any], needed: Mapping[str, Any]) -> tuple[str, str]:
    """Return why a Python cannot be the workers', and how else it differs from the driver's; empty: not at all."""
    missing = [name for name in needed if has.get(name) is None]
    if missing:
        return f"which lacks {', '.join(missing)}", ""
    for name in ("python", "recmodel"):
        if has[name] != needed[name]:
            return f"which has {name} {has[name]}, and the driver {needed[name]}", ""
    others = [
        f"{name} {has[name]} (the driver {version})"
        for name, version in needed.items()
        if has[name] != version and "?" not in (has[name], version)
    ]
    return "", f"which has {' and '.join(others)}" if others else ""
