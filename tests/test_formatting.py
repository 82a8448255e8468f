"""Texts of others as people may see them."""

import pytest

from recmodel import formatting


def test_nothing_is_left_that_a_terminal_obeys():
    hostile = "a\x1b[2J\x07\x9b31m\r\u202eb\u2066\u2028\x7f"
    assert formatting.inert(hostile) == r"a\x1b[2J\x07\x9b31m\r\u202eb\u2066\u2028\x7f"
    assert formatting.inert("Amélie ★ 東京\t\n👩‍🚀 אב") == "Amélie ★ 東京\t\n👩‍🚀 אב"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKIA:ab/cd@bucket/x is missing", "s3://(hidden)@bucket/x is missing"),
        ("jdbc:postgresql://u:pw@host/db", "jdbc:postgresql://(hidden)@host/db"),
        (
            "--conf spark.fs.s3a.secret.key=abc --top-n=5",
            "--conf spark.fs.s3a.secret.key=(hidden) --top-n=5",
        ),
        ("spark.ssl.keyPassword='a b', x=1", "spark.ssl.keyPassword='(hidden)', x=1"),
        ('{"AWS_ACCESS_KEY_ID": "AKIA", "n": 1}', '{"AWS_ACCESS_KEY_ID": "(hidden)", "n": 1}'),
        ("https://a.blob/x?sv=1&sig=abc%3D&se=2", "https://a.blob/x?sv=1&sig=(hidden)&se=2"),
        ("what open-sesame opens", "what (hidden) opens"),  # the value of a variable
        ("abfs://box@account.net/x, hdfs://node:8020/y, a@b.c", "abfs://box@account.net/x, hdfs://node:8020/y, a@b.c"),
        ("12,704 rows; Password (1962); key=value; token", "12,704 rows; Password (1962); key=value; token"),
    ],
)
def test_secrets_are_hidden_and_all_else_stays(text, shown, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "open-sesame")
    monkeypatch.setenv("SHORT_TOKEN", "rows")  # would hide words
    assert formatting.redacted(text) == shown
