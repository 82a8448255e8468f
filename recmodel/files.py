"""Checksums, of files and of values, and whether a folder can be written."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


def sha256(path: Path) -> str:
    """Of one file, or of all files of a directory with their names."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                digest.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of(value: object) -> str:
    """Of what JSON can hold, whatever the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def is_writable(folder: Path) -> bool:
    """Whether files can be made in `folder`, or it can be made itself. Makes nothing."""
    nearest = nearest_folder(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def nearest_folder(folder: Path) -> Path:
    """`folder`, or for want of it the nearest of those above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())
