"""Where the reference model's files are: a folder of them, or a Hugging Face cache, searched by size and digest.

A cache is the hub's folder (``models--org--name`` inside) or one model's in it, with ``snapshots`` (links named as the
model's files) and ``blobs`` (the files themselves; the large ones are named by their SHA-256). Nothing is fetched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from blockcert.file_range import Source, pinned
from blockcert.statement import Statement, Subject
from blockcert.wellformed import REFERENCE_PREFIX

__all__ = ["Located", "file_size", "locate"]

MOST_SNAPSHOTS = 4096
"""Snapshots of a cache that are looked into."""
_CONFIG = f"{REFERENCE_PREFIX}config.json"


class Located(Struct, frozen=True):
    """The path of each file of the reference model, by its subject's name; whether each is right is not decided here.

    ``folder`` is where further files of the model are looked for: the folder given, or the snapshot with its config.
    ``found`` are the files that lay there when they were looked at, links followed: what is hashed and what is measured
    must both be these, and unchanged.
    """

    folder: Path
    paths: dict[str, Path]
    found: dict[str, Source] = {}

    def path(self, name: str) -> Path:
        """The path of a file of the model, ``reference/...``, also of one that is no subject."""
        return self.paths.get(name, self.folder / name.removeprefix(REFERENCE_PREFIX))

    def source(self, name: str) -> Source:
        """What is read of the model as ``name``: the file that was looked at, or the path of one that was not there."""
        return self.found.get(name, self.path(name))

    def looked_at(self) -> Located:
        """The same, with the files as they lie there now."""
        return replace(self, found={name: pinned(path) for name, path in self.paths.items()})


def locate(statement: Statement, given: Path, blake3: Callable[[Path], str | None]) -> Located:
    """The paths of the statement's reference files in the folder ``given``, or in the cache that it is.

    A folder with one of the files in it is taken as it is. In a cache a file is one of the size that was signed;
    ``blake3`` is asked only where several are. A file that is nowhere has the path that it would have.
    """
    subjects = [subject for subject in statement.subject if subject.name.startswith(REFERENCE_PREFIX)]
    plain = {subject.name: given / _name(subject) for subject in subjects}
    snapshots = [] if any(map(os.path.lexists, plain.values())) else list(_snapshots(given))
    if not snapshots:
        return Located(given, plain)
    sizes = {file.name: file.size for file in statement.predicate.files}
    found: dict[str, Path] = {}
    for subject in subjects:
        places = [*(folder / _name(subject) for folder in snapshots), *_blobs(snapshots, subject.digest.sha256)]
        path = _choose(places, sizes[subject.name], subject.digest.blake3, blake3)
        if path is not None:
            found[subject.name] = path
    config = found.get(_CONFIG)
    folder = next((one for one in snapshots if config is not None and config.parent == one), snapshots[0])
    missing = {subject.name: folder / _name(subject) for subject in subjects}
    return Located(folder, missing | found)


def file_size(source: Source) -> int | None:
    """The size of a regular file, links followed; None where there is none. Nothing is opened."""
    if not isinstance(source, Path):
        return source.size
    try:
        found = os.stat(source)
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _name(subject: Subject) -> str:
    return subject.name.removeprefix(REFERENCE_PREFIX)


def _snapshots(given: Path) -> Iterator[Path]:
    """The snapshot folders of a cache, in order of their paths; none where ``given`` is no cache."""
    hub = (folder for folder in _folders(given) if folder.name.startswith("models--"))
    models = [given] if (given / "snapshots").is_dir() else hub
    yield from islice((one for model in models for one in _folders(model / "snapshots")), MOST_SNAPSHOTS)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _blobs(snapshots: Sequence[Path], sha256: str) -> Iterable[Path]:
    """The paths that a file of this SHA-256 has beside the snapshots, each once."""
    return dict.fromkeys(folder.parent.parent / "blobs" / sha256 for folder in snapshots)


def _choose(places: Iterable[Path], size: int, digest: str, blake3: Callable[[Path], str | None]) -> Path | None:
    """The file of this size, or of several the one of this digest; the first where none has it."""
    real: dict[str, Path] = {}
    for path in places:
        if file_size(path) == size:
            # several snapshots link to one blob, which is hashed once
            real.setdefault(os.path.realpath(path), path)
    candidates = list(real.values())
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    return next((path for path in candidates if blake3(path) == digest), candidates[0])
