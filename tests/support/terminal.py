"""Terminals, as a person has one of 24 lines of 80: a real one for a process, and what stands in for one here."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from rich.console import Console

LINES, COLUMNS = 24, 80


def without_colours(drawn: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)


def on_a_terminal(*command: object, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code of a process, and what it and its children draw on their terminal, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [*map(str, command)], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm", **environment},
    )  # fmt: skip
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 65536):
            drawn += chunk
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(ours)
    return process.wait(), without_colours(drawn.decode())


@contextmanager
def terminal_here() -> Iterator[io.StringIO]:
    """What commands in this process draw, as they do on a terminal; with colours."""
    from recmodel.cli import console

    drawn = io.StringIO()
    screen = Console(file=drawn, force_terminal=True, width=COLUMNS, height=LINES, highlight=False)
    with patch.object(console, "out", screen), patch.object(console, "err", screen):
        yield drawn
