"""What several tests of whole runs compare with."""

import pyarrow as pa
import pytest
from support.runs import published, without_time

NIGHT = "2026-02-01"
SMALL_PARTS = {"RECMODEL_SCORING__USERS_PER_TASK": "20"}  # 671 users in 34 partitions


@pytest.fixture
def small_parts(monkeypatch) -> dict[str, str]:
    """Settings, here and for other processes, by which the sample's users are divided into 34 partitions."""
    for name, value in SMALL_PARTS.items():
        monkeypatch.setenv(name, value)
    return SMALL_PARTS


@pytest.fixture(scope="module")
def undisturbed(nightly, score_here, tmp_path_factory) -> pa.Table:
    """The recommendations for the sample's users, from a run in small parts that nothing disturbs."""
    output = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL_PARTS.items():
            patch.setenv(name, value)
        score_here("--data", "sample", "--models", nightly.models, "--output", output, "--run-date", NIGHT)
    return without_time(published(output, NIGHT))
