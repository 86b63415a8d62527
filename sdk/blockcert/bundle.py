"""Bundles (``spec/02-bundle.md``): opened without trusting them, and built so that they appear whole.

A bundle is a folder, or the one file into which ``blockcert.packing`` packs it; opened, both are names and where
the bytes of each are. Nothing in it may stand for something outside it, and what breaks a rule is refused, never
repaired.
"""

from __future__ import annotations

import os
import shutil
import stat
import zlib
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from blockcert.digest import check_crc32
from blockcert.errors import Refusal
from blockcert.file_range import FileRange, identity, opened
from blockcert.folder import list_folder
from blockcert.names import check_names, shown

__all__ = [
    "MAX_FILES",
    "STATEMENT",
    "Bundle",
    "BundleWriter",
    "append_statement",
    "check_in_no_bundle",
    "check_new",
    "check_outside",
    "flush",
    "read_pieces",
    "replace_statement",
    "writing",
]

STATEMENT = "statement.dsse.json"
"""The file that holds the signed statement; every other file is a subject of it."""
MAX_FILES = 10_000
"""Most files and folders of one bundle."""
PIECE = 1 << 20
"""Bytes of a file that are held at a time where one is copied."""


class Bundle:
    """The files of a folder or of a packed bundle that obeys the rules, listed once when it is opened.

    The folder or the packed file itself may be reached through links; nothing inside a folder may be one.
    """

    def __init__(self, path: Path, most: int = MAX_FILES) -> None:
        """Lists the bundle at ``path``, of at most ``most`` files and folders; no content is read.

        Raises:
            Refusal: ``bundle.not_found``, ``bundle.not_a_folder``, ``bundle.no_statement``, ``bundle.symlink``,
                ``bundle.special_file``, ``bundle.hard_link``, ``bundle.too_many_files``, ``bundle.unreadable``,
                ``bundle.zip.form``, ``name.unsafe`` or ``name.collision``.
        """
        self.location = path
        self.packed, self.files = _listed(path, min(most, MAX_FILES))
        if STATEMENT not in self.files:
            raise _no_statement(path, self.files)

    @property
    def sizes(self) -> dict[str, int]:
        """The size in bytes of every file by name, sorted by name, the statement included."""
        return {name: file.size for name, file in self.files.items()}

    def file(self, name: str) -> FileRange:
        """Where the bytes of the file ``name`` are.

        Raises:
            Refusal: ``bundle.file_missing``.
        """
        if name not in self.files:
            raise Refusal("bundle.file_missing", str(self.location), f"The bundle has no file {shown(name)}.")
        return self.files[name]

    def read(self, name: str, cap: int) -> bytes:
        """The content of the file ``name``, of at most ``cap`` bytes.

        Raises:
            Refusal: ``bundle.file_missing``, ``bundle.file_too_large``, ``bundle.unreadable``, ``bundle.zip.crc32``, or
                ``bundle.changed`` where the file is no longer the one that was listed.
        """
        file = self.file(name)
        if file.size > cap:
            sentence = f"The file has {file.size} bytes; at most {cap} are accepted."
            raise Refusal("bundle.file_too_large", name, sentence)
        return b"".join(read_pieces(file, name, max(1, file.size)))


def read_pieces(file: FileRange, name: str, most: int = PIECE) -> Iterator[bytes]:
    """The content of a file of a bundle in order, at most ``most`` bytes at a time.

    Raises:
        Refusal: ``bundle.unreadable``, ``bundle.changed`` or, at the end, ``bundle.zip.crc32``.
    """
    crc32, left = 0, file.size
    try:
        with opened(file, name) as span, open(span.descriptor, "rb", buffering=0, closefd=False) as handle:
            handle.seek(span.begin)
            while left and (piece := handle.read(min(most, left))):
                left -= len(piece)
                crc32 = crc32 if file.crc32 is None else zlib.crc32(piece, crc32)
                yield piece
            # a folder's file must end here too; its status alone would not tell of what was appended just now
            more = file.crc32 is None and handle.read(1)
    except OSError as error:
        raise Refusal("bundle.unreadable", name, f"The file cannot be read: {_why(error)}.") from None
    if left or more:
        raise Refusal("bundle.changed", name, "The file changed after the bundle was opened; open it again.")
    if file.crc32 is not None:
        check_crc32(crc32, file.crc32, name)


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _listed(path: Path, most: int) -> tuple[bool, dict[str, FileRange]]:
    """Whether the bundle is packed, and its files."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return False, list_folder(path, most)
        if not stat.S_ISREG(status.st_mode):
            sentence = "This is neither a folder nor a file; name the bundle's folder or its packed file."
            raise Refusal("bundle.not_a_folder", str(path), sentence)
        return True, _list_packed(path, most)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a path with a NUL in it names nothing
        sentence = "There is no such folder or file; name what `blockcert extract`, `compare` or `pack` wrote."
        raise Refusal("bundle.not_found", str(path), sentence) from None
    except OSError as error:
        raise Refusal("bundle.unreadable", str(path), f"The bundle cannot be read: {_why(error)}.") from None


def _list_packed(path: Path, most: int) -> dict[str, FileRange]:
    from blockcert.archive import SIGNATURES, read_archive

    real = Path(os.path.realpath(path))
    with opened(real, str(path)) as span:
        if os.read(span.descriptor, 4) not in SIGNATURES:
            sentence = f"This file is no packed bundle; name one, or the folder that holds {STATEMENT}."
            raise Refusal("bundle.not_a_folder", str(path), sentence)
        listed = identity(os.fstat(span.descriptor))
        return {
            member.name: FileRange(str(real), begin, member.size, listed, member.crc32)
            for member, begin in read_archive(span, most, str(path))
        }


def _no_statement(path: Path, files: Collection[str]) -> Refusal:
    sentence = f"There is no {STATEMENT} in it, so it is not a certificate bundle"
    inner = next((name for name in files if name.endswith("/" + STATEMENT)), None)
    if inner is not None:
        sentence += f"; the folder {shown(inner.removesuffix('/' + STATEMENT))} inside it may be one."
    elif "config.json" in files:
        sentence += " but looks like a model checkpoint; name the folder that `blockcert extract` or "
        sentence += "`blockcert compare` wrote, and pass the checkpoint as the reference."
    else:
        sentence += "; name what `blockcert extract`, `compare` or `pack` wrote."
    return Refusal("bundle.no_statement", str(path), sentence)


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
        check_new(self.output)
        check_in_no_bundle(self.output)
        partial = self.output.parent / f".{self.output.name}.partial-{os.urandom(4).hex()}"
        with writing(self.output):
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
        if name not in self._names:
            self.expect((name,))
        path = partial.joinpath(*name.split("/"))
        with writing(self.output):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def expect(self, names: Iterable[str]) -> None:
        """Checks the names of files that are written later: of many at once in a fraction of the time.

        Raises:
            Refusal: ``name.unsafe`` or ``name.collision``, also with a name asked for before.
        """
        more = self._names.union(names)
        check_names(sorted(more), str(self.output))
        self._names = more

    def write(self, name: str, data: bytes) -> None:
        """Writes a whole file.

        Raises:
            Refusal: as ``path``.
        """
        path = self.path(name)
        with writing(self.output):
            path.write_bytes(data)

    def commit(self) -> None:
        """Checks the partial folder as ``Bundle`` does, flushes it to disk and renames it to ``output``.

        Raises:
            Refusal: ``output.exists`` where something came to be there meanwhile, ``output.unwritable``, or what
                ``Bundle`` raises.
        """
        partial = self.partial
        Bundle(partial)
        with writing(self.output):
            for folder, _, files in os.walk(partial):
                for name in files:
                    flush(Path(folder, name))
                flush(Path(folder))
            check_new(self.output)
            partial.rename(self.output)
            self._partial = None
            flush(self.output.parent)


def replace_statement(bundle: Bundle | Path, data: bytes) -> None:
    """Replaces the statement of a bundle by ``data`` in one step: whoever reads it sees the old or the new.

    A packed bundle is written anew beside itself, and takes its own place.

    Raises:
        Refusal: ``bundle.changed`` where another wrote to it since it was opened, ``output.unwritable``, or what
            ``Bundle`` raises.
    """
    _put(Bundle(bundle) if isinstance(bundle, Path) else bundle, STATEMENT, data)


def append_statement(path: Path, name: str, data: bytes) -> None:
    """Puts what another party says, or a report, into the bundle ``path`` under ``name``, in one step.

    Raises:
        Refusal: ``output.exists`` where the bundle has it already, ``bundle.changed`` where another wrote to a packed
            one meanwhile, ``bundle.too_many_files`` where a reader would not
            read it, ``name.collision`` where the name meets another of the bundle, ``output.unwritable``, or what
            ``Bundle`` raises.
    """
    from blockcert.appended import MOST_STATEMENTS, is_statement

    bundle = Bundle(path)
    if name in bundle.files:
        raise Refusal("output.exists", f"{path}: {name}", "The bundle has this very file already.")
    if is_statement(name) and sum(map(is_statement, bundle.files)) >= MOST_STATEMENTS:
        sentence = f"The bundle has {MOST_STATEMENTS} statements beside its certificate; readers take no more."
        raise Refusal("bundle.too_many_files", str(path), sentence)
    folders = check_names(sorted((*bundle.files, name)), str(path))
    if len(bundle.files) + 1 + folders > MAX_FILES:
        sentence = f"The bundle would have more than {MAX_FILES} files and folders; readers take no more."
        raise Refusal("bundle.too_many_files", str(path), sentence)
    _put(bundle, name, data)


def _put(bundle: Bundle, name: str, data: bytes) -> None:
    path = bundle.location
    # what STATEMENT's own path tells of a folder reached through links holds for what stands beside it
    home = Path(bundle.file(STATEMENT).path)
    target = home if bundle.packed else home.parent.joinpath(*name.split("/"))
    # beside the bundle: in it, a file that is not whole yet, or was left by a crash, would be one that nobody signed
    beside = Path(os.path.realpath(home if bundle.packed else home.parent)).parent
    with writing(path if bundle.packed else path / name):
        target.parent.mkdir(exist_ok=True)
        for folder in dict.fromkeys((beside, target.parent)):
            temporary = folder / f".{target.name}.partial-{os.urandom(4).hex()}"
            try:
                with _turn(home):
                    _write(bundle, name, data, temporary)
                    temporary.replace(target)
                break
            except OSError:  # what holds the bundle may be read-only, or another file system
                if folder == target.parent:
                    raise
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
        flush(target.parent)


@contextmanager
def _turn(file: Path) -> Generator[None]:
    """A block that only one at a time is in, of those that put something in the place of ``file``, where the system has
    locks. Who waited for it finds another file there."""
    try:
        from fcntl import LOCK_EX, flock
    except ImportError:  # Windows, which besides replaces no file that is open
        yield
        return
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # not every file system has them
            flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(bundle: Bundle, name: str, data: bytes, temporary: Path) -> None:
    """Writes what takes the place of a bundle's file, or of the packed bundle; refuses ``bundle.changed``."""
    with temporary.open("xb") as file:
        if bundle.packed:
            from blockcert.packing import write_packed

            write_packed(bundle, file, {name: data})
        else:
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if name in bundle.files or bundle.packed:
        # what another put there meanwhile, a signature or a review, must not be lost
        with opened(bundle.file(STATEMENT), STATEMENT):
            pass


def check_new(output: Path) -> None:
    """Returns None where nothing is at ``output``; refuses ``output.exists``."""
    if os.path.lexists(output):
        sentence = "The output exists already and is not overwritten; give it a new name or move this one away."
        raise Refusal("output.exists", str(output), sentence)


def check_outside(output: Path, bundle: Path) -> None:
    """Returns None where ``output`` would lie neither in the folder ``bundle`` nor in another bundle.

    Raises:
        Refusal: ``output.unwritable``.
    """
    check_in_no_bundle(output)
    home = os.path.realpath(bundle)
    if os.path.isdir(home) and Path(os.path.realpath(output)).is_relative_to(home):
        sentence = "It lies in the bundle, and verifiers refuse a bundle with a file more; name a place outside it."
        raise Refusal("output.unwritable", str(output), sentence)


def check_in_no_bundle(output: Path) -> None:
    """Returns None where ``output`` would not lie in a bundle, which it would spoil.

    Raises:
        Refusal: ``output.unwritable``.
    """
    for folder in Path(os.path.realpath(output)).parents:
        if os.path.lexists(folder / STATEMENT):
            sentence = (
                f"It lies in the bundle {folder.name}, and verifiers refuse a bundle with a file more; name a place "
                "outside it."
            )
            raise Refusal("output.unwritable", str(output), sentence)


@contextmanager
def writing(output: Path) -> Generator[None]:
    """A block that writes ``output``: what the system says against it is refused as ``output.unwritable``."""
    try:
        yield
    except OSError as error:
        raise Refusal("output.unwritable", str(output), f"It cannot be written: {_why(error)}.") from error


def flush(path: Path) -> None:
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
