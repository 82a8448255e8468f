"""Note every change that a command of `recmodel` makes on the disk, and send a signal just before one of them.

Python imports this when it starts with this folder on PYTHONPATH. What Java, Spark or delta-rs write is not seen here.
"""

import os
import signal
import sys

_TWO_PATHS = ("os.rename", "os.link", "os.symlink")  # of which the second is the one that changes
_EVENTS = (*_TWO_PATHS, "os.mkdir", "os.remove", "os.rmdir", "open")


def _watch(folders: list[str], notes: int, command: str, fatal: str, kind: str) -> None:
    done = 0

    def note(event: str, arguments: tuple) -> None:
        nonlocal done
        if event not in _EVENTS or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        path = arguments[event in _TWO_PATHS]
        if isinstance(path, int):
            return
        path = os.fsdecode(path)
        if event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] >= 0:  # below a folder that is open
            path = os.path.join(os.readlink(f"/proc/self/fd/{arguments[-1]}"), path)
        if not path.startswith(tuple(folders)) or "/.store/staging" in path or path.endswith(("lock", "nightly")):
            return
        done += 1
        os.write(notes, f"{command}\t{done}\t{event.removeprefix('os.')}\t{path}\n".encode())
        if f"{command} {done}" == fatal:
            _send(kind, command)

    sys.addaudithook(note)


def _send(kind: str, command: str) -> None:
    number = signal.SIGKILL if kind.startswith("KILL") else signal.SIGTERM
    if kind.endswith("all"):
        os.killpg(os.getpgrp(), number)
    elif kind.endswith("step") or command == "nightly":
        os.kill(os.getpid(), number)
    else:
        os.kill(os.getppid(), number)


if "KILLS_NOTES" in os.environ and "recmodel" in sys.orig_argv[:-1]:
    _watch(
        os.environ["KILLS_FOLDERS"].split(os.pathsep),
        os.open(os.environ["KILLS_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT),
        sys.orig_argv[sys.orig_argv.index("recmodel") + 1],
        os.environ.get("KILLS_BEFORE", ""),
        os.environ.get("KILLS_SIGNAL", ""),
    )
