"""What a run needs, against hand-worked figures, and the settings that contradict it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmodel.errors import UsageRejected
from recmodel.spark import resources

MIB, GIB = 1 << 20, 1 << 30
NEEDS = resources.needs(model=100 * MIB, movies=80_000, block=64 * MIB, in_numpy=False)
K8S = {"spark.master": "k8s://https://host", "spark.executor.memory": "4g", "spark.executor.cores": "4",
       "spark.driver.memory": "2g"}  # fmt: skip


def test_needs_grow_with_the_model_and_the_block():
    assert NEEDS.worker == (870 + 64 + 320) * MIB
    assert NEEDS.driver_heap == (450 + 100) * MIB
    in_numpy = resources.needs(model=100 * MIB, movies=80_000, block=64 * MIB, in_numpy=True)
    assert (in_numpy.worker, in_numpy.shared) == ((420 + 64 + 40) * MIB + 50 * 80_000, 100 * MIB)


@pytest.mark.parametrize(
    ("master", "measured"),  # MiB: the largest worker of real runs, see tests/benchmarks/README.md
    [({"model": 25_135_012, "movies": 62_423, "in_numpy": True}, 493),
     ({"model": 81_078_964, "movies": 62_423, "in_numpy": True}, 586),
     ({"model": 1_292_599_694, "movies": 1_000_000, "in_numpy": True}, 2062),
     ({"model": 81_078_964, "movies": 62_423, "in_numpy": False}, 1170)],
)  # fmt: skip
def test_a_worker_is_foretold_within_a_tenth_and_never_too_small(master, measured):
    needs = resources.needs(**master, block=64 * MIB)
    foretold = (needs.worker + needs.shared) / MIB
    assert measured <= foretold <= 1.1 * measured


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("4g", 4 * GIB), ("512m", 512 * MIB), ("512", 512 * MIB), ("1.5G", 3 * GIB // 2), ("2048kb", 2 * MIB), ("8b", 8)],
)
def test_sizes_are_read_as_spark_reads_them(text, bytes_):
    assert resources.size(text) == bytes_


def test_what_is_no_size_is_refused():
    with pytest.raises(UsageRejected, match="'much' is not a size"):
        resources.size("much")


@given(users=st.integers(0, 10**8), users_per_task=st.integers(1, 10**5), slots=st.integers(1, 1000))
def test_partitions_fill_whole_rounds_of_all_slots_and_are_no_more_than_needed(users, users_per_task, slots):
    partitions = resources.partitions(users, users_per_task, slots)
    assert partitions % slots == 0
    assert partitions * users_per_task >= users
    assert partitions == slots or (partitions - slots) * users_per_task < users


@pytest.mark.parametrize(
    ("conf", "registered", "slots"),
    [
        ({}, 8, 8),
        ({"spark.task.cpus": "2"}, 8, 4),
        ({"spark.executor.instances": "10", "spark.executor.cores": "4"}, 2, 40),  # the rest is still to come
        ({"spark.cores.max": "16"}, 2, 16),
        ({"spark.executor.instances": "10", "spark.executor.cores": "4", "spark.task.cpus": "2"}, 2, 20),
    ],
)
def test_slots_are_those_asked_for_or_there(conf, registered, slots):
    assert resources.slots(conf, registered) == slots


def test_overhead_is_derived_where_nobody_said_and_then_contradicts_nothing():
    assert resources.derives_overhead(K8S)
    assert not resources.derives_overhead({"spark.master": "spark://host:7077"})  # only containers are killed
    derived = resources.memory_overhead(K8S, NEEDS)
    assert derived == 4 * GIB // 10 + 4 * NEEDS.worker
    conf = {**K8S, "spark.executor.memoryOverhead": f"{derived // MIB + 1}m"}
    assert not resources.derives_overhead(conf)
    assert resources.contradictions(conf, NEEDS, machine=GIB) == []


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"spark.executor.memoryOverhead": "1g"}, "spark.executor.memoryOverhead gives 1,024 MiB"),
        ({"spark.executor.memoryOverheadFactor": "0.4"}, "spark.executor.memoryOverhead gives 1,638 MiB"),
        ({"spark.driver.memory": "512m"}, "spark.driver.memory is 512 MiB"),
        ({"spark.executorEnv.OMP_NUM_THREADS": "4"}, "OMP_NUM_THREADS is 4 but a task has 1"),
        ({"spark.master": "local[64]"}, "more than the 16,384 MiB of this machine"),
    ],
)
def test_a_setting_that_contradicts_the_run_is_named_with_a_remedy(setting, named):
    roomy = {} if "memoryOverhead" in str(setting) else {"spark.executor.memoryOverhead": "16g"}
    (sentence,) = resources.contradictions({**K8S, **roomy, **setting}, NEEDS, machine=16 * GIB)
    assert named in sentence
    assert ";" in sentence


def test_users_cut_too_small_are_warned_of():
    assert resources.too_many_partitions(671, 20) is None
    assert resources.too_many_partitions(100_000_000, 8192) is None
    assert "makes 1,000,000 partitions" in resources.too_many_partitions(100_000_000, 100)
