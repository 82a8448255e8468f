"""A terminal, as a person has one."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from support.processes import ROOT


def on_a_terminal(*arguments: object, **environment: str) -> tuple[int, str]:
    """Exit code of `recmodel …`, and what it draws on a terminal of 24 lines of 80, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "recmodel", *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment},
    )  # fmt: skip
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 65536):
            drawn += chunk
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(ours)
    return process.wait(), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())
