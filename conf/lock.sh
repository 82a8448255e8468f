#!/usr/bin/env bash
# Writes conf/requirements.lock again, with the newest versions that setup.py allows on Linux with Python 3.10 to 3.13.
# Needs `uv` (pip install uv); can be run from any folder.
set -euo pipefail
conf=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

linux="sys_platform == 'linux' and python_version < '3.14'"
cat > "$work/pyproject.toml" <<TOML
[project]
name = "lock"
version = "0"
requires-python = ">=3.10,<3.14"
dependencies = ["recmodel[sample,test]"]
[tool.uv]
environments = ["$linux"]
[tool.uv.sources]
recmodel = { path = "$(dirname "$conf")" }
TOML

cd "$work"
{
    echo "# Made by conf/lock.sh; used as pip constraints by submit.sh."
    uv pip compile --quiet --universal --no-header --no-annotate --no-emit-package recmodel \
        --python-version 3.10 --no-python-downloads pyproject.toml |
        sed -E "s/ and sys_platform == 'linux'//; s/ and python_full_version < '3.14'//; s/ ; python_full_version < '3.14'$//"
} > "$conf/requirements.lock"
