"""Real servers of PostgreSQL and Redis for tests and benchmarks: temporary, and on free ports."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PASSWORD = "open-sesame"
MISSING = "there is no {} on this machine; Debian: apt install postgresql redis-server"


def program(name: str) -> str | None:
    """Where a server's program is; Debian has PostgreSQL's on no path."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(places)), os.environ["PATH"]]))


@contextmanager
def postgresql(**settings: object) -> Iterator[str]:
    """The address of a new server's database, as its superuser with PASSWORD; the environment does not say it."""
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    folder, port = Path(tempfile.mkdtemp(prefix="recmodel-postgresql-")), free_port()
    try:
        (folder / "password").write_text(PASSWORD)
        if account:
            for place in (folder, folder / "password"):
                shutil.chown(place, "postgres", "postgres")
        made = ["--username=admin", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--encoding=UTF8"]
        quick = ["--no-sync", "--no-instructions", "--locale=C.UTF-8"]
        subprocess.run(
            [program("initdb"), "-D", folder / "data", *made, *quick],
            check=True, capture_output=True, cwd="/", **account,
        )  # fmt: skip
        fixed = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
        options = [word for name, value in (fixed | settings).items() for word in ("-c", f"{name}={value}")]
        command = [program("postgres"), "-D", folder / "data", *options]
        ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        # Its data are of no use any more: it need not write them.
        with _running(command, lambda: not subprocess.run(ready, check=False).returncode, signal.SIGQUIT, **account):
            yield f"postgresql://admin@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis(**settings: object) -> Iterator[str]:
    """The address of a new server, which keeps nothing on a disk; its password is PASSWORD."""
    port = free_port()
    fixed = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "requirepass": PASSWORD}
    words = [word for name, value in (fixed | settings).items() for word in (f"--{name}", str(value))]
    with _running([program("redis-server"), *words], lambda: _answers(port), signal.SIGTERM):
        yield f"redis://127.0.0.1:{port}/0"


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


@contextmanager
def _running(command: list, answers: Callable[[], bool], end: signal.Signals, **account: object) -> Iterator[None]:
    process = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True,
        **account,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not answers():
            assert process.poll() is None, f"{command[0]} has ended with {process.returncode}"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(end)
        process.wait(30)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
