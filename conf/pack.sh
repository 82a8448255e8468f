#!/usr/bin/env bash
# Packs a Python environment for Spark's executors into one archive, for spark-submit's --archives: TensorFlow, NumPy,
# SciPy, pandas and PyArrow in their locked versions. The package recmodel is not included; the job ships it.
#
#   conf/pack.sh environment.tar.gz [PYTHON]
#
# PYTHON (python3 by default) must exist on every node, at the same path as here. A virtual environment works wherever it
# is unpacked, except for the first lines of its scripts, which executors do not run; so a plain archive is enough. If the
# nodes lack that Python, pack Python itself with conda-pack: see README.md in this folder.
set -euo pipefail
archive=${1:?usage: conf/pack.sh environment.tar.gz [PYTHON]}
conf=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${2:-python3}" -m venv "$work/environment"
"$work/environment/bin/python" -m pip --quiet --disable-pip-version-check install -c "$conf/requirements.lock" \
    tensorflow numpy scipy pandas pyarrow
tar -C "$work/environment" -czf "$archive" .
echo "$archive: $(du -h "$archive" | cut -f1); pass it as --archives $archive#environment"
