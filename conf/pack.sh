#!/usr/bin/env bash
# Packs the Python of executors into one archive for spark-submit's --archives: TensorFlow, NumPy, pandas and PyArrow, as
# locked. Our own code is not in it: the job ships it.
#
#   conf/pack.sh environment.tar.gz [PYTHON]
#
# PYTHON (python3 by default) must be on every node at the path where it is here. An environment finds its packages
# beside itself wherever it is unpacked, so an archive of it is enough; a packer would only mend the first lines of
# scripts, which executors do not run. Where the nodes have no such Python, pack one too: conda-pack (see the README).
set -euo pipefail
archive=${1:?usage: conf/pack.sh environment.tar.gz [PYTHON]}
conf=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${2:-python3}" -m venv "$work/environment"
"$work/environment/bin/python" -m pip --quiet --disable-pip-version-check install -c "$conf/requirements.lock" \
    tensorflow numpy pandas pyarrow
tar -C "$work/environment" -czf "$archive" .
echo "$archive: $(du -h "$archive" | cut -f1); give it as --archives $archive#environment"
