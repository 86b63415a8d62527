"""The work folder of a long extraction: what is finished is kept beside the output until the output stands.

For the output ``out`` it is ``.out.work/KEY``, ``KEY`` being the start of the BLAKE3 of everything that the result
depends on but the time: a run that asks for something else starts anew. Blocks, proven rows and bundles appear in it
whole, by renaming. A process may be killed at any moment; the next run of the same request finds what was whole by
then, also where it was killed while it moved the result to its place. Of several runs for one output at once all but
the first are refused. When the output stands, ``.out.work`` is removed; when the request is refused for what it asks,
its own folder is: it would be refused again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from blockcert.bundle import check_in_no_bundle
from blockcert.digest import blake3_bytes
from blockcert.errors import Refusal
from blockcert.program import Stage
from blockcert.safetensors_file import read_header_bytes, write
from blockcert_producers.extract.front import BlockSummary, Chosen
from blockcert_producers.output_lock import LOCK, OutputLock

__all__ = ["RowFolder", "WorkFolder", "check_new", "check_output"]

_KEY_CHARACTERS = 16
_MOVING = "moving.json"


class _Record(Struct, frozen=True):
    """One budget's choice as kept; ``digest`` is of the file of its tensors, empty where there are none."""

    stage: Stage
    summary: BlockSummary
    digest: str


class _Move(Struct, frozen=True):
    """What is on its way to the output: a file of it, and that file's BLAKE3."""

    file: str
    digest: str


class WorkFolder:
    """The work folder of one request; also the shelf of its finished blocks (``extract.front.Shelf``).

    Args:
        output: where the result is to stand.
        key: everything that the result depends on but the time.
    """

    def __init__(self, output: Path, key: bytes) -> None:
        self.output = output
        self.all = _work_of(output)
        self.folder = self.all / blake3_bytes(key)[:_KEY_CHARACTERS]
        self._lock = OutputLock(output, self.all)

    def prepare(self) -> None:
        """Make the folder, unless it is there, for this process alone; what a killed run left half done is removed.

        Where the output stands already, that is only right if it is ``moved``.

        Raises:
            Refusal: ``output.exists``; ``output.busy`` where another run writes this output; ``output.unwritable``.
        """
        self._check_output()
        try:
            self._lock.take()
            try:
                self._check_output()  # another run may have ended meanwhile
            except Refusal:
                self._lock.release()
                raise
            for name in ("blocks", "result"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
                for partial in (self.folder / name).glob("*.partial-*"):
                    shutil.rmtree(partial)
        except OSError as error:
            raise self._unwritable(error) from error

    def release(self) -> None:
        """Let other runs have the output; what is kept stays."""
        self._lock.release()

    @property
    def result(self) -> Path:
        """The folder in which the result is put together."""
        return self.folder / "result"

    @property
    def moved(self) -> bool:
        """Whether the output is this request's, from a run that was stopped before all of it was in its place."""
        try:
            move = msgspec.json.decode((self.folder / _MOVING).read_bytes(), type=_Move)
            return blake3_bytes((self.output / move.file).read_bytes()) == move.digest
        except (OSError, ValueError):
            return False

    @property
    def finished(self) -> int:
        """How many blocks are finished and kept."""
        return _blocks(self.folder)

    def others(self) -> int:
        """How many blocks other requests for this output have kept, the one that has most."""
        folders = [path for path in self.all.iterdir() if path != self.folder and path.is_dir()]
        return max(map(_blocks, folders), default=0)

    def beside(self, name: str, data: bytes) -> Path:
        """The path of a new file of this folder, whole."""
        path = self.folder / name
        partial = path.with_name(f"{name}.partial-{os.urandom(4).hex()}")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            raise self._unwritable(error) from error
        return path

    def finish(self, result: Path, seal: str, beside: Mapping[Path, Path] | None = None) -> None:
        """Move ``result``, a folder of this one, to the output, then what stands beside it, and remove all else.

        Args:
            result: the folder.
            seal: a file of it by which it is known again, if this is stopped in the middle.
            beside: files of this folder, and where each is to stand.

        Raises:
            Refusal: ``output.exists``, ``output.unwritable``.
        """
        for target in (self.output, *(beside or {}).values()):
            check_new(target)
        try:
            digest = blake3_bytes((result / seal).read_bytes())
            self.beside(_MOVING, msgspec.json.encode(_Move(seal, digest)))
            result.rename(self.output)
        except OSError as error:
            raise self._unwritable(error) from error
        self.complete(beside)

    def complete(self, beside: Mapping[Path, Path] | None = None) -> None:
        """The rest of ``finish``, once the output stands: what of ``beside`` is still here goes to its place.

        Raises:
            Refusal: ``output.exists``, ``output.unwritable``.
        """
        try:
            for source, target in (beside or {}).items():
                if source.exists():
                    check_new(target)
                    source.rename(target)
        except OSError as error:
            raise self._unwritable(error) from error
        # what tells a standing output from a stranger's goes last
        _remove(self.all, but=(self.folder.name, LOCK))
        _remove(self.folder, but=(_MOVING,))
        shutil.rmtree(self.all, ignore_errors=True)
        self._lock.release()

    def discard(self) -> None:
        """Remove what this request has kept: it was refused, and would be again."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()
        with suppress(OSError):
            self.all.rmdir()  # another request may have kept something

    def _check_output(self) -> None:
        if not self.moved:
            check_new(self.output)

    def load(self, block: int) -> tuple[Chosen, ...] | None:
        """A block's choices, one for each budget in order; None where it is not there, or not whole."""
        folder = self.folder / "blocks" / str(block)
        try:
            records = msgspec.json.decode((folder / "chosen.json").read_bytes(), type=tuple[_Record, ...])
            return tuple(_load(folder / str(i), record) for i, record in enumerate(records))
        except (OSError, ValueError, Refusal):
            return None

    def keep(self, block: int, chosen: Sequence[Chosen]) -> None:
        """Keep a finished block: it appears whole.

        Raises:
            Refusal: ``output.unwritable``.
        """
        place = self.folder / "blocks" / str(block)
        partial = place.with_name(f"{block}.partial-{os.urandom(4).hex()}")
        try:
            partial.mkdir()
            records: list[_Record] = []
            for i, one in enumerate(chosen):
                path = partial / str(i)
                if one.tensors:
                    write(path, one.tensors)
                records.append(_Record(one.stage, one.summary, blake3_bytes(path.read_bytes()) if one.tensors else ""))
            (partial / "chosen.json").write_bytes(msgspec.json.encode(records))
            shutil.rmtree(place, ignore_errors=True)
            partial.rename(place)
        except OSError as error:
            raise self._unwritable(error) from error

    def rows(self, surrogate: str) -> RowFolder:
        """The shelf of the proven rows of the bundle whose surrogate's program has this digest."""
        return RowFolder(self.folder / "rows" / surrogate[:_KEY_CHARACTERS], self._unwritable)

    def _unwritable(self, error: OSError) -> Refusal:
        why = error.strerror or type(error).__name__
        return Refusal("output.unwritable", str(self.output), f"It cannot be written: {why}.")


class RowFolder:
    """Finished rows of proven ends in a folder (``certify.enclosing.RowShelf``); made when the first is kept."""

    def __init__(self, folder: Path, unwritable: Callable[[OSError], Refusal]) -> None:
        self._folder, self._unwritable = folder, unwritable

    def load(self, row: int) -> dict[str, Any] | None:
        """A row's cells; None where it is not there, or not whole."""
        try:
            return msgspec.json.decode((self._folder / f"{row}.json").read_bytes(), type=dict[str, Any])
        except (OSError, ValueError):
            return None

    def keep(self, row: int, cells: dict[str, Any]) -> None:
        """Keep a finished row: it appears whole.

        Raises:
            Refusal: ``output.unwritable``.
        """
        partial = self._folder / f"{row}.partial-{os.urandom(4).hex()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(msgspec.json.encode(cells))
            partial.rename(self._folder / f"{row}.json")
        except OSError as error:
            raise self._unwritable(error) from error


def _work_of(output: Path) -> Path:
    return output.parent / f".{output.name}.work"


def _blocks(folder: Path) -> int:
    return sum(path.name.isdecimal() for path in (folder / "blocks").glob("*"))


def _remove(folder: Path, but: Collection[str]) -> None:
    for path in list(folder.glob("*")):
        if path.name not in but:
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.unlink()


def check_output(output: Path) -> None:
    """Refuse, before any work, an output that no request can have: one in a bundle, or one that stands already and has
    no work folder beside it.

    Raises:
        Refusal: ``output.unwritable``, ``output.exists``.
    """
    check_in_no_bundle(output)
    if not _work_of(output).is_dir():
        check_new(output)


def check_new(output: Path) -> None:
    """Refuse an output that stands already: ``output.exists``."""
    if os.path.lexists(output):
        sentence = "The output exists already and is not overwritten; name a new one or move this one away."
        raise Refusal("output.exists", str(output), sentence)


def _load(path: Path, record: _Record) -> Chosen:
    if not record.digest:
        return Chosen(record.stage, {}, record.summary)
    data = path.read_bytes()
    if blake3_bytes(data) != record.digest:
        raise ValueError("the file of the block's tensors is not whole")
    tensors = {
        name: (info.dtype, info.shape, data[info.begin : info.end])
        for name, info in read_header_bytes(data, path.name).items()
    }
    return Chosen(record.stage, tensors, record.summary)
