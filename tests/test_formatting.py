"""Texts of others as people may see them."""

from recmodel import formatting


def test_nothing_is_left_that_a_terminal_obeys():
    hostile = "a\x1b[2J\x07\x9b31m\r\u202eb\u2066\u2028\x7f"
    assert formatting.inert(hostile) == r"a\x1b[2J\x07\x9b31m\r\u202eb\u2066\u2028\x7f"
    assert formatting.inert("Amélie ★ 東京\t\n👩‍🚀 אב") == "Amélie ★ 東京\t\n👩‍🚀 אב"
