"""Folder: what a folder of one's own starts from: settings, presets, a crontab and units of systemd.

The schedules are the examples of conf/, with the folder's paths in the place of theirs.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import yaml

from recmodel import settings, storage
from recmodel.errors import UsageRejected

_SETTINGS = """\
# Settings of this folder: those that differ from the defaults. Relative paths start at the folder above this file's.
# `recmodel settings` checks them and prints all that are in force; what each means is said in conf/README.md.

paths:
  data: {data}
  models: var/models
  output: var/output
  logs: var/log

# scoring:
#   top_n: 20
# training:
#   preset: ours
"""
_PRESETS = """\
# Presets of one's own, in addition to those that come with the package (default, joint, rating, …).

# ours:
#   extends: default
#   description: default, with more movies per user
#   successors: 100
"""
_UNITS = ("recmodel.service", "recmodel.timer", "recmodel-failed@.service")
_FLAGS = " --data /data/ratings --models /var/lib/recmodel/models --output /var/lib/recmodel/output"  # of the examples
_OF_SYSTEMD = r"(?m)^(StateDirectory|LogsDirectory)=.*\n"  # folders that systemd would make elsewhere


def init(folder: Path, data: str) -> list[Path]:
    """Write the files to a folder, which may exist; return their paths.

    Raises:
        UsageRejected: one of them exists already, the folder cannot be written, or cron and systemd would misread its
            path.
    """
    folder = Path(os.path.abspath(folder))
    if not re.fullmatch(r"[\w./+@-]+", str(folder), re.ASCII):
        raise UsageRejected(
            f"cron and systemd read blanks and signs in {str(folder)!r} in ways of their own; choose a folder with "
            "letters, digits and . _ - + @ only"
        )
    files = _files(folder, data)
    there = [path for path in files if path.exists()]
    if there:
        raise UsageRejected(f"{there[0]} exists, and nothing is overwritten; remove it, or choose another folder")
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            storage.write(path, content.encode())
        (folder / "var/log").mkdir(parents=True, exist_ok=True)  # which cron's shell does not make
    except OSError as error:
        raise UsageRejected(f"cannot write below {folder} ({error.strerror}); choose another folder") from None
    return [*files]


def _files(folder: Path, data: str) -> dict[Path, str]:
    shown = (
        yaml.safe_dump(data, default_flow_style=True, allow_unicode=True, width=10_000).removesuffix("...\n").strip()
    )
    schedules = {"crontab": settings.shipped("crontab.example")} | {
        f"systemd/{name}": settings.shipped(name) for name in _UNITS
    }
    return {
        folder / "conf/settings.yaml": _SETTINGS.format(data=shown),
        folder / "conf/presets.yaml": _PRESETS,
        **{folder / name: _of_folder(path.read_text(encoding="utf-8"), folder) for name, path in schedules.items()},
    }


def _of_folder(schedule: str, folder: Path) -> str:
    """Return an example of conf/ with the paths of a folder."""
    conf = f"RECMODEL_CONF={folder}/conf"
    for example, ours in (
        ("conf/crontab.example", f"{folder}/crontab"),
        (_FLAGS, ""),
        ("local[8]", f"local[{os.cpu_count()}]"),
        ("/opt/recmodel/submit.sh", command()),
        ("/var/log/recmodel", f"{folder}/var/log"),
        ("/var/lib/recmodel", str(folder)),
        ("\nRECMODEL_PATHS__LOGS=", f"\n{conf}\nRECMODEL_PATHS__LOGS="),  # of a crontab
        ("Environment=RECMODEL_PATHS__LOGS=", f"Environment={conf} RECMODEL_PATHS__LOGS="),
    ):
        schedule = schedule.replace(example, ours)
    return re.sub(_OF_SYSTEMD, "", schedule)


def command() -> str:
    """Return what starts recmodel: the checkout's script, or the module of this Python."""
    script = settings.shipped("settings.yaml").resolve().parent.parent / "submit.sh"
    return shlex.quote(str(script)) if script.is_file() else f"{shlex.quote(sys.executable)} -m recmodel"
