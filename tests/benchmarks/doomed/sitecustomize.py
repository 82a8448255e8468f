"""Note every change that a command of `recmodel` makes on the disk, and send a signal just before one of them.

Python imports this when it starts with this folder on PYTHONPATH. What Java and Spark write is not seen here. What
delta-rs and PyArrow write, to a URI, is noted by the calls of Python that make them write.
"""

import os
import signal
import sys
from types import FrameType

_TWO_PATHS = ("os.rename", "os.link", "os.symlink")  # of which the second is the one that changes
_EVENTS = (*_TWO_PATHS, "os.mkdir", "os.remove", "os.rmdir", "open")


_CALLS = {  # of Python's functions and of delta-rs', those that change something
    "recmodel/storage.py": ("write", "remove"),
    "deltalake/table.py": ("create_write_transaction", "delete", "vacuum"),
}


class _Watch:
    def __init__(self, folders: list[str], notes: int, command: str, fatal: str, kind: str) -> None:
        self.folders, self.notes, self.command, self.fatal, self.kind = tuple(folders), notes, command, fatal, kind
        self.done = 0

    def audit(self, event: str, arguments: tuple) -> None:
        if event not in _EVENTS or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        path = arguments[event in _TWO_PATHS]
        if isinstance(path, int):
            return
        path = os.fsdecode(path)
        if event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] >= 0:  # below a folder that is open
            path = os.path.join(os.readlink(f"/proc/self/fd/{arguments[-1]}"), path)
        if path.startswith(self.folders) and not path.endswith(("lock", "nightly")):
            self._note(event.removeprefix("os."), path)

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name in _CALLS.get("/".join(code.co_filename.rsplit("/", 2)[1:]), ()):
            own = frame.f_locals
            self._note(code.co_name, str(own["location"] if "location" in own else own["self"].table_uri))

    def _note(self, what: str, path: str) -> None:
        if "/.store/staging" in path:
            return
        self.done += 1
        os.write(self.notes, f"{self.command}\t{self.done}\t{what}\t{path}\n".encode())
        if f"{self.command} {self.done}" == self.fatal:
            _send(self.kind, self.command)


def _send(kind: str, command: str) -> None:
    number = signal.SIGKILL if kind.startswith("KILL") else signal.SIGTERM
    if kind.endswith("all"):
        os.killpg(os.getpgrp(), number)
    elif kind.endswith("step") or command == "nightly":
        os.kill(os.getpid(), number)
    else:
        os.kill(os.getppid(), number)


if "KILLS_NOTES" in os.environ and "recmodel" in sys.orig_argv[:-1]:
    watch = _Watch(
        os.environ["KILLS_FOLDERS"].split(os.pathsep),
        os.open(os.environ["KILLS_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT),
        sys.orig_argv[sys.orig_argv.index("recmodel") + 1],
        os.environ.get("KILLS_BEFORE", ""),
        os.environ.get("KILLS_SIGNAL", ""),
    )
    sys.addaudithook(watch.audit)
    if "KILLS_CALLS" in os.environ:
        sys.setprofile(watch.profile)
