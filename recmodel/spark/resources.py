"""Resources: the memory and the partitions that a run needs, and the Spark settings that contradict them.

Everything follows from sizes, counts and settings; nothing here asks a cluster. What grows with what, in bytes:

- a Python worker (one per task slot, outside the JVM's heap): the libraries and the tables of a part, `IN_NUMPY`, + the
  block of users it scores at a time (scoring.block_mib) + 0.4 times the packed model, whose movies it holds in the
  order of the search, + `MOVIE` per movie. The model itself is mapped, once per machine. Measured from 62,000 to a
  million movies, at 32 and at 128 + 64 dimensions, with ratings in any order.
- where TensorFlow scores: `IN_TENSORFLOW` + the block + 3.2 times the packed model, which nothing is shared of.
- the packed model of the default preset (retrieval_dim d, rating_dim k): 4 (2 d + k + 1) + 8 per movie, so 1,292.
  It is broadcast once: the driver and each executor hold it, packed.
- the driver's heap: `DRIVER_BASE` + the packed model.
- nothing with the users: they pass by. A partition takes 8 bytes in the plan of the run.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from recmodel.errors import UsageRejected

MIB = 1 << 20
IN_NUMPY, IN_TENSORFLOW = 420 * MIB, 870 * MIB
MOVIE = 50  # bytes: title, popularity, and whether it may be recommended
DRIVER_BASE = 450 * MIB
_LEAST_USERS, _MANY_PARTITIONS = 1024, 10_000  # scheduling a task takes some 10 ms of the driver
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True)
class Needs:
    """What a run needs, in bytes; see above."""

    model: int  # packed, as it is broadcast
    worker: int  # without what is shared
    shared: int  # by the workers of a machine
    driver_heap: int


def needs(model: int, movies: int, block: int, *, in_numpy: bool) -> Needs:
    """Return the needs of a run.

    Args:
        model: bytes of the packed model.
        movies: of the catalogue.
        block: bytes of `scoring.block_mib`.
        in_numpy: whether NumPy scores, and not TensorFlow; see `models.architectures`.
    """
    worker = IN_NUMPY + math.ceil(0.4 * model) + MOVIE * movies if in_numpy else IN_TENSORFLOW + math.ceil(3.2 * model)
    return Needs(model, worker + block, model if in_numpy else 0, DRIVER_BASE + model)


def threads(conf: Mapping[str, str]) -> int:
    """Return the threads of TensorFlow and NumPy in a worker: those of a task, so that slots share the cores."""
    return int(conf.get("spark.task.cpus", "1"))


def slots_of_executor(conf: Mapping[str, str]) -> int:
    """Return how many tasks, and so Python workers, run in an executor at a time."""
    return max(1, int(conf.get("spark.executor.cores", "1")) // threads(conf))


def slots(conf: Mapping[str, str], registered: int) -> int:
    """Return how many tasks run at a time in the whole cluster.

    Args:
        registered: cores of the executors that are there already, which may be a part of those asked for.
    """
    asked = int(conf.get("spark.executor.instances", "0")) * slots_of_executor(conf)
    limit = int(conf.get("spark.cores.max", "0")) // threads(conf)
    return max(1, asked, limit, registered // threads(conf))


def partitions(users: int, users_per_task: int, slots: int) -> int:
    """Return how many partitions to divide users into: as few as fill whole rounds of all slots."""
    return -(-users // (users_per_task * slots)) * slots or slots


def memory_overhead(conf: Mapping[str, str], needs: Needs) -> int:
    """Return the bytes of an executor's container outside its heap: Python workers, and what the JVM itself takes."""
    own = max(384 * MIB, size(conf.get("spark.executor.memory", "1g")) // 10)
    return own + slots_of_executor(conf) * needs.worker + needs.shared


def contradictions(conf: Mapping[str, str], needs: Needs, machine: int) -> list[str]:
    """Return one sentence, with a remedy, for each setting that contradicts the needs of the run.

    Args:
        conf: Spark's settings, as the run will have them.
        machine: bytes of this machine's memory.
    """
    master = conf.get("spark.master", "local[*]")
    sentences = []
    if master.startswith("local"):
        workers = _local_slots(conf) * needs.worker + needs.shared
        wanted = workers + size(conf.get("spark.driver.memory", "1g")) + needs.model
        if wanted > machine:
            sentences.append(
                f"{_local_slots(conf)} workers of {_mib(needs.worker)} next to the driver need {_mib(wanted)}, more "
                f"than the {_mib(machine)} of this machine; take fewer with --master local[N]"
            )
    elif _containers(master):
        wanted, given = memory_overhead(conf, needs), _given_overhead(conf)
        if given is not None and given < wanted:
            sentences.append(
                f"spark.executor.memoryOverhead gives {_mib(given)} but {slots_of_executor(conf)} Python workers of an "
                f"executor need {_mib(wanted)} with this catalogue; raise it, or leave it out to have it derived"
            )
    heap = size(conf.get("spark.driver.memory", "1g"))
    if heap < needs.driver_heap:
        sentences.append(
            f"spark.driver.memory is {_mib(heap)} but a model of {_mib(needs.model)} needs "
            f"{_mib(needs.driver_heap)}; raise it with --driver-memory"
        )
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        given_threads = conf.get(f"spark.executorEnv.{variable}")
        if given_threads is not None and int(given_threads) > threads(conf):
            sentences.append(
                f"spark.executorEnv.{variable} is {given_threads} but a task has {threads(conf)} of the executor's "
                "cores; leave it out, or raise spark.task.cpus"
            )
    return sentences


def too_many_partitions(users: int, users_per_task: int) -> str | None:
    """Return a warning if a setting divides the users too finely; None otherwise."""
    count = -(-users // users_per_task)
    if count <= _MANY_PARTITIONS or users_per_task >= _LEAST_USERS:
        return None
    return (
        f"scoring.users_per_task is {users_per_task}, which makes {count:,} partitions and as many files; "
        f"raise it to {_LEAST_USERS} or more"
    )


def size(text: str) -> int:
    """Return the bytes of a Spark setting such as 4g or 512m; a number alone is MiB, as in Spark's settings of memory.

    Raises:
        UsageRejected: it is no size.
    """
    parsed = re.fullmatch(r"([0-9.]+) *([bkmgt]?)b?", text.strip().lower())
    if parsed is None:
        raise UsageRejected(f"{text!r} is not a size that Spark reads, such as 4g or 512m; correct it")
    return int(float(parsed[1]) * _UNITS[parsed[2] or "m"])


def _containers(master: str) -> bool:
    """Return whether executors that take more memory than they asked for are killed."""
    return master.startswith(("yarn", "k8s"))


def derives_overhead(conf: Mapping[str, str]) -> bool:
    """Return whether no setting has the size of an executor outside its heap, so that it is derived."""
    return _containers(conf.get("spark.master", "local[*]")) and _given_overhead(conf) is None


def _given_overhead(conf: Mapping[str, str]) -> int | None:
    if "spark.executor.memoryOverhead" in conf:
        return size(conf["spark.executor.memoryOverhead"])
    if "spark.executor.memoryOverheadFactor" in conf:
        heap = size(conf.get("spark.executor.memory", "1g"))
        return max(384 * MIB, int(float(conf["spark.executor.memoryOverheadFactor"]) * heap))
    return None


def _local_slots(conf: Mapping[str, str]) -> int:
    """Return the slots of local, local[8] or local[*]."""
    inside = re.search(r"\[(\d+)", conf.get("spark.master", "local[*]"))
    cores = (os.cpu_count() or 1) if "[*" in conf.get("spark.master", "local[*]") else 1
    return max(1, (int(inside[1]) if inside else cores) // threads(conf))


def _mib(count: float) -> str:
    return f"{count / MIB:,.0f} MiB"
