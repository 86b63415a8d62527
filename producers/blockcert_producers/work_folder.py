"""The work folder of a long extraction: what is finished is kept beside the output until the output stands.

For the output ``out`` it is ``.out.work/KEY``, ``KEY`` being the start of the BLAKE3 of everything that the result
depends on but the time: a run that asks for something else starts anew. Blocks, proven rows and bundles appear in it
whole, by renaming. A process may be killed at any moment; the next run of the same request finds what was whole by
then. When the output stands, ``.out.work`` is removed; when the request is refused, its own folder is, unless only the
output could not be written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from blockcert.digest import blake3_bytes
from blockcert.errors import Refusal
from blockcert.program import Stage
from blockcert.safetensors_file import read_header_bytes, write
from blockcert_producers.extract.front import BlockSummary, Chosen

__all__ = ["RowFolder", "WorkFolder", "check_new"]

_KEY_CHARACTERS = 16


class _Record(Struct, frozen=True):
    """One budget's choice as kept; ``digest`` is of the file of its tensors, empty where there are none."""

    stage: Stage
    summary: BlockSummary
    digest: str


class WorkFolder:
    """The work folder of one request; also the shelf of its finished blocks (``extract.front.Shelf``).

    Args:
        output: where the result is to stand.
        key: everything that the result depends on but the time.
    """

    def __init__(self, output: Path, key: bytes) -> None:
        self.output = output
        self._all = output.parent / f".{output.name}.work"
        self.folder = self._all / blake3_bytes(key)[:_KEY_CHARACTERS]

    def prepare(self) -> None:
        """Make the folder, unless it is there; what a killed run left half done in it is removed.

        Raises:
            Refusal: ``output.exists`` where the output stands already, ``output.unwritable``.
        """
        check_new(self.output)
        try:
            for name in ("blocks", "result"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
                for partial in (self.folder / name).glob("*.partial-*"):
                    shutil.rmtree(partial)
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def result(self) -> Path:
        """The folder in which the result is put together."""
        return self.folder / "result"

    def finish(self, result: Path) -> None:
        """Move ``result``, a file or folder of this work folder, to the output, and remove the work folder.

        Raises:
            Refusal: ``output.exists``, ``output.unwritable``.
        """
        check_new(self.output)
        try:
            result.rename(self.output)
        except OSError as error:
            raise self._unwritable(error) from error
        shutil.rmtree(self._all, ignore_errors=True)

    def discard(self) -> None:
        """Remove what this request has kept: it was refused, and would be again."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self._all.rmdir()  # another request may have kept something

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
