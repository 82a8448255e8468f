"""What is refused before any work: the machine and the environment."""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import pytest

from recmodel import schemas as c
from recmodel import settings
from recmodel.errors import UsageRejected
from recmodel.pipeline import preflight
from recmodel.spark import launch


def java(folder: Path, *, release: str = "", answer: str = "") -> Path:
    """A Java that has a file of its release, or answers for itself; the folder is its JAVA_HOME."""
    program = folder / "bin/java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{answer}' >&2\n")
    program.chmod(0o755)
    if release:
        (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{release}"\n')
    return folder


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ({"release": "17.0.15"}, None),
        ({"release": "25"}, None),
        ({"release": "11.0.2"}, "is Java 11, too old"),
        ({"release": "1.8.0_392"}, "is Java 8, too old"),
        ({"answer": 'openjdk version "11.0.2" 2019-01-15'}, "is Java 11, too old"),
        ({"answer": 'java version "21.0.1"'}, None),
        ({"answer": "I am no Java"}, None),  # Spark's own start shows
    ],
)
def test_an_old_java_is_refused_by_its_release_file_or_its_answer(tmp_path, kind, refused):
    home = java(tmp_path / "jdk", **kind)
    if refused is None:
        preflight.check_java({"JAVA_HOME": str(home)})
    else:
        with pytest.raises(UsageRejected, match=f"JAVA_HOME, {home}, {refused} for Spark; install Java 17 or newer"):
            preflight.check_java({"JAVA_HOME": str(home)})
        with pytest.raises(UsageRejected, match=f"^{home}/bin/java {refused}"):
            preflight.check_java({"PATH": str(home / "bin")})


@pytest.mark.parametrize(("home", "where"), [("", ""), ("/nowhere", " in JAVA_HOME, /nowhere")])
def test_a_missing_java_is_refused(home, where):
    with pytest.raises(UsageRejected, match=f"no Java found{where}; install Java 17 or newer"):
        preflight.check_java({"JAVA_HOME": home, "PATH": "/nowhere"})


def test_a_spark_home_without_a_spark_is_refused(tmp_path):
    preflight.check_spark_home(None)
    with pytest.raises(UsageRejected, match=f"SPARK_HOME is {tmp_path}, which has no bin/spark-submit; .* unset it"):
        preflight.check_spark_home(str(tmp_path))


# -- the workers' Python -----------------------------------------------------------------------------------------------

DRIVER = {"python": "3.11", "recmodel": "0.3.2", "tensorflow": "2.21.0", "numpy": "2.3.5"}


@pytest.mark.parametrize(
    ("difference", "refusal", "warning"),
    [
        ({}, "", ""),
        ({"tensorflow": None, "recmodel": None}, "which lacks recmodel, tensorflow", ""),
        ({"python": "3.12"}, "which has python 3.12, and the driver 3.11", ""),
        ({"recmodel": "0.3.1"}, "which has recmodel 0.3.1, and the driver 0.3.2", ""),
        ({"numpy": "2.4.0"}, "", "which has numpy 2.4.0 (the driver 2.3.5)"),
        ({"tensorflow": "?"}, "", ""),  # a build of another name
    ],
)
def test_workers_need_what_the_driver_has(difference, refusal, warning):
    assert preflight.compare_pythons(DRIVER | difference, DRIVER) == (refusal, warning)


def test_a_python_is_asked_what_it_has(tmp_path, monkeypatch):
    """Not one that is the driver's own; and what lies in the working directory does not answer for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    venv.create(tmp_path / "bare", symlinks=True, with_pip=False)
    preflight.check_worker_python(sys.executable)
    for python, reason in {
        str(tmp_path / "bare/bin/python"): "which lacks recmodel, tensorflow, numpy, scipy, pandas, pyarrow; unset it",
        "/bin/false": "which is no working Python",
        "/nowhere/python": "which is no program",
    }.items():
        with pytest.raises(UsageRejected, match=f"PYSPARK_PYTHON is {python}, {reason}"):
            preflight.check_worker_python(python)
    linked = tmp_path / "another" / "python"  # the same libraries by another name
    linked.parent.mkdir()
    linked.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    linked.chmod(0o755)
    preflight.check_worker_python(str(linked))


def test_modules_that_workers_would_take_from_the_working_directory_are_refused_where_they_would():
    preflight.check_working_directory(["main.py", "random", "notes.txt"])
    with pytest.raises(UsageRejected, match="the working directory holds random.py"):
        preflight.check_working_directory(["main.py", "random.py"])


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tmpdir(monkeypatch):
    """Set TMPDIR as it is for a process that starts."""

    def use(folder: object) -> None:
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)

    return use


def test_a_temporary_folder_that_cannot_be_used_is_refused(tmpdir, tmp_path):
    tmpdir(tmp_path)
    preflight.check_temporary_folder()
    tmpdir(tmp_path / "gone")
    with pytest.raises(UsageRejected, match=f"TMPDIR is {tmp_path}/gone, where no file can be written .* set TMPDIR"):
        preflight.check_temporary_folder()


@pytest.mark.parametrize(
    ("option", "reason"), [("noexec", "is mounted noexec, so Java cannot load"), ("size=4k", "no file can be written")]
)
def test_a_temporary_folder_that_is_full_or_noexec_is_refused(tmpdir, tmp_path, option, reason):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("mounting needs more rights")
    try:
        with open(tmp_path / "large", "wb") as file:
            os.writev(file.fileno(), [b"x" * 4096])
        tmpdir(tmp_path)
        with pytest.raises(UsageRejected, match=reason):
            preflight.check_temporary_folder()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_java_uses_the_temporary_folder_of_python(tmpdir, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", "-Xint")
    tmpdir(tmp_path)
    launch._share_temporary_folder()
    launch._share_temporary_folder()
    assert os.environ["SPARK_SUBMIT_OPTS"] == f'-Xint "-Djava.io.tmpdir={tmp_path}"'


def test_folders_that_are_written_to_are_checked_by_the_flag_that_names_them(tmp_path):
    (tmp_path / "file").touch()
    chosen = settings.load()
    preflight.check(chosen, output=str(tmp_path / "new/folder"), models="s3://bucket/models")
    with pytest.raises(UsageRejected, match=f"{tmp_path}/file is no folder; choose another --models"):
        preflight.check(chosen, models=str(tmp_path / "file/models"))
    no_logs = settings.load(paths={"logs": str(tmp_path / "file/logs")})
    with pytest.raises(UsageRejected, match="is no folder; set paths.logs, or RECMODEL_PATHS__LOGS"):
        preflight.check(no_logs)


def test_a_run_that_will_not_fit_is_refused_and_what_shares_a_disk_is_added_up(tmp_path):
    free = 1 << 60
    preflight.check_space({str(tmp_path): 1, "s3://bucket/tables": free})
    with pytest.raises(UsageRejected, match=r"has [\d,.]+.[MG]iB free, and this run needs about .*make room"):
        preflight.check_space({str(tmp_path / "output"): free, str(tmp_path / "tmp"): 1})
    half = preflight.shutil.disk_usage(tmp_path).free * 2 // 3
    preflight.check_space({str(tmp_path / "output"): half})
    with pytest.raises(UsageRejected):
        preflight.check_space({str(tmp_path / "output"): half, str(tmp_path / "tmp"): half})


def test_what_a_run_is_said_to_need_is_a_little_more_than_it_writes(nightly):
    tables = [name for name in c.TABLES if name not in (c.REJECTS_TABLE, c.HITS_TABLE, c.MODELS_TABLE)]
    written = sum(file.stat().st_size for name in tables for file in (nightly.output / name).glob("*/*.parquet"))
    users, movies = nightly.run["users"], nightly.run["movies"]
    needed, _ = preflight.bytes_of_run(users=users, top_n=10, reserve=5, rated=10, movies=movies, model_bytes=0)
    assert written < needed < 1.5 * written
