"""Items that another thread makes in advance."""

import threading

import pytest

from recmodel.data.ahead import ahead


def test_items_keep_their_order_and_are_made_by_another_thread():
    makers = []

    def items():
        for i in range(50):
            makers.append(threading.get_ident())
            yield i

    assert [*ahead(items())] == [*range(50)]
    assert threading.get_ident() not in makers
    assert len(set(makers)) == 1


def test_no_more_are_made_in_advance_than_allowed():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    for item in ahead(items(), most=3):
        assert len(made) <= item + 1 + 3
        made[item]  # it was made


def test_what_making_raises_is_raised_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("no more")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more"):
        next(found)


def test_who_stops_early_closes_what_makes_the_items():
    closed = []

    def items():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    found = ahead(items())
    next(found)
    found.close()
    assert closed == [True]
