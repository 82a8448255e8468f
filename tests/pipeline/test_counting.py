"""How users are divided."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recmodel.pipeline.counting import equal_shares


def test_shares_are_of_equal_work():
    """Users 1 to 10 make eleven times the work of each of the 200 users after them."""
    users = [*range(1, 211)]
    work = np.cumsum([11 if user <= 10 else 1 for user in users])
    assert equal_shares(users, work, 2) == [56]  # 10 * 11 + 45 users make 155, half of the work
    assert equal_shares(users, work, 1) == []


@given(work=st.lists(st.integers(1, 50), max_size=60), shares=st.integers(1, 20))
def test_no_share_is_larger_than_an_even_one_and_one_user(work, shares):
    user_id = (np.arange(len(work)) * 7 - 3).tolist()
    starts = equal_shares(user_id, np.cumsum(work), shares)
    assert len(starts) < shares
    share = np.searchsorted(starts, user_id, side="right")
    if work:
        assert np.bincount(share, weights=work).max() <= sum(work) / shares + max(work)
