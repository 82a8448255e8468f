"""What several tests of whole runs compare with."""

import pyarrow as pa
import pytest
from support.runs import DAY, SMALL_PARTS, published, without_time


@pytest.fixture
def small_parts(monkeypatch) -> dict[str, str]:
    """Settings, here and for other processes, by which the sample's users are divided as in `undisturbed`."""
    for name, value in SMALL_PARTS.items():
        monkeypatch.setenv(name, value)
    return SMALL_PARTS


@pytest.fixture(scope="module")
def undisturbed(nightly) -> pa.Table:
    """The recommendations for the sample's users, from the night, which nothing disturbed."""
    return without_time(published(nightly.output, DAY))
