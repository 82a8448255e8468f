"""Reading as of a time: what comes later is left out before anything else is asked of it."""

import numpy as np
import pytest
from support.inputs import STRICT, make_ratings, read, with_files, with_ratings

from recmodel.data.limits import Input
from recmodel.errors import InputRejected

NOON = 86_400 + 12 * 3600  # of 2 January 1970
HEADER = "userId,movieId,rating,timestamp\n"


def as_of(moment: str, rejected: float = 1.0) -> Input:
    return Input(rating_min=0.5, rating_max=5.0, max_rejected_share=rejected, as_of=moment)


@pytest.mark.parametrize(
    ("moment", "last"), [("1970-01-01", 86_399), ("1970-01-02T12:00", NOON), ("1970-01-02 13:00:00+01:00", NOON)]
)
def test_what_is_read_is_what_a_file_cut_at_that_time_holds(tmp_path, moment, last):
    """The last second included. Faults of later rows are nobody's business; nor is a movie that came later."""
    random = np.random.RandomState(1)
    times = [*random.randint(0, 3 * 86_400, 300), 86_399, 86_400, NOON, NOON + 1]
    rows = [
        f"{n},{random.choice([1, 2, 99])},{random.choice(['4.0', '9', 'x'])},{time}" for n, time in enumerate(times)
    ]
    cut = [row for row in rows if int(row.rpartition(",")[2]) <= last]
    assert 0 < len(cut) < len(rows)
    whole, of_cut = (
        read(with_ratings(tmp_path / name, (HEADER + "\n".join(lines)).encode()), limits)
        for name, lines, limits in (("whole", rows, as_of(moment)), ("cut", cut, as_of("")))
    )
    assert whole[0] == of_cut[0]
    columns = ["column", "value", "reason"]
    assert whole[2].rejected().select(columns) == of_cut[2].rejected().select(columns)
    assert (whole[2].rows, whole[2].used) == (of_cut[2].rows, of_cut[2].used)
    assert (whole[2].left_out, of_cut[2].left_out) == (len(rows) - len(cut), 0)
    assert whole[2].newest == of_cut[2].newest == max(whole[0].column("timestamp").to_pylist())
    assert f"{len(rows) - len(cut):,} rows later than {moment} left out" in whole[2].files[-1].sentence()


def test_rows_that_are_left_out_are_no_rejects(tmp_path):
    rows = [*make_ratings(), *((user, 77, 9.0, 10**11) for user in range(20))]  # of no movie, off the scale, in 5138
    folder = with_ratings(tmp_path, (HEADER + "\n".join(",".join(map(str, row)) for row in rows)).encode())
    ratings, _, validation = read(folder, as_of("2026-01-31", rejected=0.0))
    assert (ratings.num_rows, validation.rejected().num_rows) == (len(make_ratings()), 0)


def test_a_time_that_cannot_be_gone_back_to_is_refused(tmp_path):
    with pytest.raises(InputRejected, match=r"all \d+ rows of .*ratings.csv are later than 1969-12-31; choose a later"):
        read(with_files(tmp_path / "late", {}), as_of("1969-12-31"))
    no_times = with_files(tmp_path / "no-times", {"ratings.csv": "userId,movieId,rating\n1,1,4.0\n"})
    with pytest.raises(InputRejected, match=r"has no column of times, so what it held as of 2026-01-31 is not known"):
        read(no_times, as_of("2026-01-31"))
    ratings, _, validation = read(no_times, STRICT)
    assert (ratings.num_rows, validation.newest_time) == (1, None)
