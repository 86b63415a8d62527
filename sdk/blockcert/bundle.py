"""Bundles (``spec/02-bundle.md``): a folder opened without trusting it, and one built so that it appears whole.

Nothing in a bundle may stand for something outside it: no symbolic links, no hard links, no devices or pipes. A
folder that breaks a rule is refused, never repaired.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from blockcert.errors import Refusal
from blockcert.names import check_name, check_names, shown

__all__ = ["MAX_FILES", "STATEMENT", "Bundle", "BundleWriter", "replace_statement"]

STATEMENT = "statement.dsse.json"
"""The file that holds the signed statement; every other file is a subject of it."""
MAX_FILES = 10_000
"""Most files and folders of one bundle."""

# Windows has neither flag, and opens no links or pipes by name this way.
_SAFE_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class _Identity(NamedTuple):
    """What tells a file from another put in its place."""

    device: int
    inode: int
    size: int
    modified: int


def _identity(status: os.stat_result) -> _Identity:
    return _Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Bundle:
    """A folder that obeys the rules of a bundle, listed once when it is opened.

    The folder itself may be reached through links; nothing inside it may be one.
    """

    def __init__(self, folder: Path) -> None:
        """Lists ``folder``.

        Raises:
            Refusal: ``bundle.not_found``, ``bundle.not_a_folder``, ``bundle.no_statement``, ``bundle.symlink``,
                ``bundle.special_file``, ``bundle.hard_link``, ``bundle.too_many_files``, ``bundle.unreadable``,
                ``name.unsafe`` or ``name.collision``.
        """
        self.folder = folder
        self._files = _listed(folder)
        if STATEMENT not in self._files:
            raise _no_statement(folder, self._files)

    @property
    def sizes(self) -> dict[str, int]:
        """The size in bytes of every file by name, sorted by name, the statement included."""
        return {name: identity.size for name, identity in self._files.items()}

    def path(self, name: str) -> Path:
        """Where the file ``name`` is.

        Raises:
            Refusal: ``bundle.file_missing``.
        """
        if name not in self._files:
            raise Refusal("bundle.file_missing", str(self.folder), f"The bundle has no file {shown(name)}.")
        return self.folder.joinpath(*name.split("/"))

    def read(self, name: str, cap: int) -> bytes:
        """The content of the file ``name``, of at most ``cap`` bytes.

        Raises:
            Refusal: ``bundle.file_missing``, ``bundle.file_too_large``, ``bundle.unreadable``, or ``bundle.changed``
                where the file is no longer the one that was listed.
        """
        path, listed = self.path(name), self._files[name]
        if listed.size > cap:
            sentence = f"The file has {listed.size} bytes; at most {cap} are accepted."
            raise Refusal("bundle.file_too_large", name, sentence)
        try:
            with open(os.open(path, os.O_RDONLY | _SAFE_FLAGS | _BINARY), "rb") as file:
                same = _identity(os.fstat(file.fileno())) == listed
                data = file.read(listed.size + 1) if same else b""
        except OSError as error:
            raise Refusal("bundle.unreadable", name, f"The file cannot be read: {_why(error)}.") from None
        if not same or len(data) != listed.size:
            raise Refusal("bundle.changed", name, "The file changed after the bundle was opened; open it again.")
        return data


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _listed(folder: Path) -> dict[str, _Identity]:
    """Every file under ``folder``, sorted by name, all rules checked."""
    place = str(folder)
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise Refusal(
                "bundle.not_a_folder",
                place,
                f"A bundle is a folder, and this is a file; name the folder that holds {STATEMENT}.",
            )
        files = {name: _identity(status) for name, status in _walk(folder)}
    except (FileNotFoundError, NotADirectoryError):
        sentence = "There is no such folder; name the folder that `blockcert extract` or `blockcert compare` wrote."
        raise Refusal("bundle.not_found", place, sentence) from None
    except OSError as error:
        raise Refusal("bundle.unreadable", place, f"The folder cannot be read: {_why(error)}.") from None
    names = sorted(files)
    check_names(names, place)
    return {name: files[name] for name in names}


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    entries = 0
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(folder / inside) as scan:
            for entry in scan:
                entries += 1
                if entries > MAX_FILES:
                    sentence = f"The folder holds more than {MAX_FILES} files and folders; no bundle does."
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


def _no_statement(folder: Path, files: dict[str, _Identity]) -> Refusal:
    sentence = f"The folder has no {STATEMENT}, so it is not a certificate bundle"
    inner = next((name for name in files if name.endswith("/" + STATEMENT)), None)
    if inner is not None:
        sentence += f"; the folder {shown(inner.removesuffix('/' + STATEMENT))} inside it may be one."
    elif "config.json" in files:
        sentence += " but looks like a model checkpoint; name the folder that `blockcert extract` or "
        sentence += "`blockcert compare` wrote, and pass the checkpoint as the reference."
    else:
        sentence += "; name the folder that `blockcert extract` or `blockcert compare` wrote."
    return Refusal("bundle.no_statement", str(folder), sentence)


class BundleWriter:
    """Builds a bundle in a hidden folder beside ``output`` and renames it there as a whole.

    A context manager: leaving it without ``commit``, by an error or Ctrl-C or by forgetting, removes the partial
    folder and leaves no output::

        with BundleWriter(Path("certificate")) as writer:
            writer.write("statement.dsse.json", envelope)
            writer.commit()
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self._partial: Path | None = None
        self._names: set[str] = set()

    def __enter__(self) -> BundleWriter:
        """Creates the partial folder, and the folders above it.

        Raises:
            Refusal: ``output.exists``, or ``output.unwritable``.
        """
        _check_new(self.output)
        partial = self.output.parent / f".{self.output.name}.partial-{os.urandom(4).hex()}"
        with _writing(self.output):
            self.output.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
        self._partial = partial
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._partial is not None:
            # what fails here must not hide why the bundle was given up
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial = None

    @property
    def partial(self) -> Path:
        """The folder in which the bundle stands until ``commit``."""
        if self._partial is None:
            raise RuntimeError("the bundle is not being written: outside the with block, or committed already")
        return self._partial

    @property
    def names(self) -> tuple[str, ...]:
        """The names asked for so far, sorted."""
        return tuple(sorted(self._names))

    def path(self, name: str) -> Path:
        """Where to write the file ``name``; the folders above it are made.

        Raises:
            Refusal: ``name.unsafe``, ``name.collision`` with a name asked for before, or ``output.unwritable``.
        """
        partial = self.partial
        check_names((*sorted(self._names - {name}), name), str(self.output))
        self._names.add(name)
        path = partial.joinpath(*name.split("/"))
        with _writing(self.output):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, data: bytes) -> None:
        """Writes a whole file.

        Raises:
            Refusal: as ``path``.
        """
        path = self.path(name)
        with _writing(self.output):
            path.write_bytes(data)

    def commit(self) -> None:
        """Checks the partial folder as ``Bundle`` does, flushes it to disk and renames it to ``output``.

        Raises:
            Refusal: ``output.exists`` where something came to be there meanwhile, ``output.unwritable``, or what
                ``Bundle`` raises.
        """
        partial = self.partial
        Bundle(partial)
        with _writing(self.output):
            for folder, _, files in os.walk(partial):
                for name in files:
                    _flush(Path(folder, name))
                _flush(Path(folder))
            _check_new(self.output)
            partial.rename(self.output)
            self._partial = None
            _flush(self.output.parent)


def replace_statement(folder: Path, data: bytes) -> None:
    """Replaces the statement file of the bundle ``folder`` by ``data`` in one step: a reader sees the old or the new.

    Raises:
        Refusal: ``output.unwritable``, or what ``Bundle`` raises about the folder.
    """
    target = Bundle(folder).path(STATEMENT)
    temporary = folder / f".{STATEMENT}.partial-{os.urandom(4).hex()}"
    with _writing(target):
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _flush(folder)


def _check_new(output: Path) -> None:
    if os.path.lexists(output):
        sentence = "The output exists already and is not overwritten; name a new folder or move this one away."
        raise Refusal("output.exists", str(output), sentence)


@contextmanager
def _writing(output: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise Refusal("output.unwritable", str(output), f"It cannot be written: {_why(error)}.") from error


def _flush(path: Path) -> None:
    """Flushes a file, or a folder's list of names, to disk."""
    folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if not folder:  # not every system can flush a folder, and then there is nothing to do about it
            raise
