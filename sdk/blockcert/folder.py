"""Bundles as folders (``spec/02-bundle.md``): listed once, without opening any file and without following any link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from blockcert.errors import Refusal
from blockcert.file_range import FileRange, identity
from blockcert.names import check_name, check_names

__all__ = ["list_folder"]


def list_folder(folder: Path, most: int) -> dict[str, FileRange]:
    """Every file under ``folder``, at most ``most`` files and folders, sorted by name, all rules checked.

    Raises:
        Refusal: ``bundle.symlink``, ``bundle.special_file``, ``bundle.hard_link``, ``bundle.too_many_files``,
            ``name.unsafe`` or ``name.collision``.
        OSError: where a folder cannot be read.
    """
    base = os.path.abspath(folder)
    files = {
        name: FileRange(os.path.join(base, *name.split("/")), 0, status.st_size, identity(status))
        for name, status in _walk(folder, most)
    }
    names = sorted(files)
    check_names(names, str(folder))
    return {name: files[name] for name in names}


def _walk(folder: Path, most: int) -> Iterator[tuple[str, os.stat_result]]:
    entries = 0
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(folder / inside) as scan:
            for entry in scan:
                entries += 1
                if entries > most:
                    sentence = f"The folder holds more than {most} files and folders."
                    raise Refusal("bundle.too_many_files", str(folder), sentence)
                name = inside + entry.name
                check_name(name, str(folder))
                status = os.lstat(entry.path)  # a DirEntry's own stat lacks the inode on Windows
                if stat.S_ISDIR(status.st_mode):
                    pending.append(name + "/")
                    continue
                _check_kind(name, status, folder)
                yield name, status


def _check_kind(name: str, status: os.stat_result, folder: Path) -> None:
    place = f"{folder}: {name}"
    if stat.S_ISLNK(status.st_mode):
        sentence = "This is a symbolic link; put the file itself in its place."
        raise Refusal("bundle.symlink", place, sentence)
    if not stat.S_ISREG(status.st_mode):
        raise Refusal("bundle.special_file", place, "This is not a regular file; a bundle holds only files.")
    if status.st_nlink > 1:
        sentence = f"The file has {status.st_nlink} names (hard links), so it can change from outside; copy it."
        raise Refusal("bundle.hard_link", place, sentence)
