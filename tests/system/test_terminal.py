"""Commands on a real terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from support.processes import ROOT


def on_a_terminal(*arguments, **environment) -> str:
    """What a command draws on a terminal of 24 lines of 80, without colours."""
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
    assert process.wait() == 0, drawn[-1000:]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())


def test_scoring_on_a_terminal_shows_how_far_it_is_and_ends_with_a_screenful(toy, toy_models, tmp_path):
    drawn = on_a_terminal(
        "score", "--data", toy, "--models", toy_models, "--output", tmp_path, "--predicted-ratings", "all",
        "--master", "local[2]", RECMODEL_SCORING__USERS_PER_TASK="10",
    )  # fmt: skip
    for stage in ("score and write recommendations", "write predicted ratings"):
        assert re.search(rf"{stage} … 40 of 40 users, [\d,]+ users/s, 0\.0\s+s left", drawn)
    end = drawn.split("✓ publish")[1].splitlines()
    assert len(end) < 24
    assert max(map(len, end)) <= 80


def test_training_on_a_terminal_shows_how_far_it_is(toy, tmp_path):
    drawn = on_a_terminal("train", "--data", toy, "--models", tmp_path, "--preset", "joint")
    assert re.search(r"train preset joint … ([\d,]+) of \1 ratings, [\d,]+ ratings/s, 0\.0\s+s left", drawn)
