"""The processes of a night: steps that clean up when they are ended, and what killed nights leave behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.processes import another_process

from recmodel import storage
from recmodel.pipeline import processes
from recmodel.tables.output import open_output

CLEANS_UP = """
import signal, sys, time
from pathlib import Path
Path(sys.argv[1]).touch()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(Path(sys.argv[1]).unlink()))
time.sleep(60)
"""


def test_a_step_that_takes_too_long_may_clean_up(tmp_path):
    words = [sys.executable, "-c", CLEANS_UP, str(tmp_path / "scratch")]
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(words, os.environ, 1.0)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """The temporary folder of the machine."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_night_has_a_temporary_folder_that_goes_with_it(shared):
    lock = open_output("file:///tables")._lock_file("lock")
    with processes.temporary_folder():
        (own,) = shared.iterdir()
        assert Path(tempfile.gettempdir()) == own
        assert open_output("file:///tables")._lock_file("lock") == lock  # commands outside of the night know no other
        code = "import os, tempfile; from pathlib import Path; Path(tempfile.gettempdir(), 'left').touch(); os._exit(3)"
        assert processes.run([sys.executable, "-c", code], os.environ) == 3
        assert (own / "left").exists()
    assert list(shared.iterdir()) == []
    assert Path(tempfile.gettempdir()) == storage.shared_temporary_folder() == shared


def test_what_a_step_left_running_ends_with_the_night(shared, monkeypatch):
    monkeypatch.setattr(processes, "_SECONDS_LEFT_ALONE", 0.2)
    code = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, file=open('{}', 'w'))"
    with processes.temporary_folder():
        assert processes.run([sys.executable, "-c", code.format(shared / "pid")], os.environ) == 0
        left = int((shared / "pid").read_text())
        os.kill(left, 0)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{left}/cmdline").read_bytes() if Path(f"/proc/{left}").exists() else b"":
        assert time.monotonic() < deadline


def test_what_a_killed_night_left_is_removed_unless_its_step_still_works(shared):
    """The step is a process that inherits the lock, as those that `run` starts do."""
    script = (
        "import subprocess, sys; from pathlib import Path; from recmodel.pipeline import processes; "
        "night = processes.temporary_folder(); night.__enter__(); "
        "step = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, pass_fds=processes._held); "
        "Path(sys.argv[1]).write_text(str(step.pid))"
    )
    with another_process(script, shared / "pid") as night:
        (left,) = shared.glob("recmodel-night-*")
        with processes.temporary_folder():
            assert left.exists()
        night.kill()
    with processes.temporary_folder():
        assert left.exists()
    os.kill(int((shared / "pid").read_text()), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while left.exists() and time.monotonic() < deadline:  # the system closes its files a moment later
        with processes.temporary_folder():
            pass
    assert not left.exists()
