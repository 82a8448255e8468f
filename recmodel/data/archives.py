"""Archives: the zip files in which GroupLens hands MovieLens out."""

from __future__ import annotations

import calendar
import os
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from recmodel import storage
from recmodel.data import layouts
from recmodel.errors import InputRejected


def unpack(archive: Path) -> Path:
    """Unpack the tables of a zip file to a folder that is removed when the process ends.

    The files keep the times that they have in the archive: equal archives have an equal `movielens.identity`.

    Raises:
        InputRejected: the file is damaged or encrypted, or holds no ratings.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return _unpack(opened, storage.temporary_folder(archive.stem))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise InputRejected(f"{archive} cannot be unpacked ({error}); get it again") from None


def _unpack(archive: zipfile.ZipFile, folder: Path) -> Path:
    # Some programs of Windows write backslashes.
    names = {info.filename.replace("\\", "/"): info for info in archive.infolist()}
    paths = {PurePosixPath(name): info for name, info in names.items() if not name.endswith("/")}
    tops = [path.parts[:i] for path in paths for i, name in enumerate(path.parts) if layouts.is_ratings(name)]
    if not tops:
        raise InputRejected(f"{archive.filename} holds no ratings; a MovieLens archive has ratings.csv or ratings.dat")
    top = min(tops, key=lambda parts: (len(parts), parts))
    beside = sorted({parts for parts in tops if len(parts) == len(top)} - {top})
    if beside:
        both = " and ".join("/".join(parts) for parts in (top, beside[0]))
        raise InputRejected(f"{archive.filename} holds ratings in {both}; unpack it and give the directory you mean")
    for path, info in paths.items():
        inside = path.parts[len(top) :]
        if path.parts[: len(top)] != top or not layouts.is_part_of_input(inside[0]) or ".." in inside:
            continue
        target = folder.joinpath(*inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
        changed = calendar.timegm((*info.date_time, 0, 0, 0))
        os.utime(target, (changed, changed))
    return folder
