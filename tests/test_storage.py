"""Places by path and URI."""

from pathlib import Path

import pytest

from recmodel import storage
from recmodel.errors import UsageRejected


@pytest.mark.parametrize(
    "location",
    ["s3://id:key@bucket", "s3://id:ke/y@bucket/x", "hdfs://me@node/x", "s3://bucket?secret_key=x", "abfs://a:b@c/d",
     "https://a.blob/x?sig=abc"],
)  # fmt: skip
def test_addresses_with_credentials_are_refused_without_repeating_them(location):
    with pytest.raises(UsageRejected, match="holds credentials") as refused:
        storage.refuse_credentials(location)
    assert location not in str(refused.value)


@pytest.mark.parametrize("location", ["s3://b/a@b:c", "hdfs://node:8020/x", "abfs://box@account.net/x", "/a:b@c?key=1"])
def test_other_addresses_are_not(location):
    storage.refuse_credentials(location)


@pytest.mark.parametrize("name", ["~nobody-of-this-name", "-x", "a ", "new\nline", "file:x", "[*]?{}", "back\\slash"])
def test_a_name_is_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute(name) == str(Path.cwd() / name)


def test_names_that_are_no_text_are_refused():
    with pytest.raises(UsageRejected, match=r"bad\\udcff is no text in UTF-8"):
        storage.absolute("bad\udcff")
