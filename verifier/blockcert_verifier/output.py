"""Writing to standard output and to files: text of ours as it is, bytes from a bundle with care."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from blockcert.errors import Refusal
from blockcert.printable import plain

__all__ = ["check_writable", "emit", "emit_untrusted", "is_standard_output", "tell", "write_file"]

_STANDARD_OUTPUT = frozenset({"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})


def is_standard_output(path: Path | None) -> bool:
    """Whether a report at ``path`` goes to standard output, so that nothing else may."""
    return path is not None and str(path) in _STANDARD_OUTPUT


def emit(data: bytes) -> None:
    """Write to standard output; a reader that goes away (`| head`) must not turn a verdict into another exit code."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # at exit Python flushes again, and would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(data: bytes) -> None:
    """Write to standard error what a person reads beside a report on standard output."""
    sys.stderr.write(data.decode())
    sys.stderr.flush()


def emit_untrusted(data: bytes) -> None:
    """Write bytes from a bundle: as they stand into a file or pipe, without what moves a terminal onto one."""
    if sys.stdout.isatty():
        data = plain(data.decode(errors="replace"), lines=True).encode()
    emit(data)


def check_writable(path: Path) -> None:
    """Returns None where a report can be written to `path`, as far as that shows before the work; nothing is touched.

    Raises:
        Refusal: `output.unwritable`.
    """
    if is_standard_output(path):
        return
    folder = path.parent
    if path.is_dir():
        why = "this is a folder; name a file in it"
    elif not folder.is_dir():
        why = "there is no such folder" if not folder.exists() else f"{folder} is not a folder"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        why = "you may not write there"
    else:
        return
    raise Refusal("output.unwritable", str(path), f"the report cannot be written: {why}")


def write_file(path: Path, data: bytes) -> None:
    """Write a report to a file, or to standard output (`-` or its name); refuses `output.unwritable`."""
    if is_standard_output(path):
        emit_untrusted(data)
        return
    try:
        if path.is_file() or not path.exists():
            _replace(Path(os.path.realpath(path)), data)  # where it is a link, what it names is the report
        else:
            path.write_bytes(data)  # a pipe or a device
    except OSError as fault:
        raise Refusal("output.unwritable", str(path), f"the report cannot be written: {fault.strerror}") from None


def _replace(path: Path, data: bytes) -> None:
    """Writes a file whole or leaves what was there."""
    temporary = path.with_name(f".{path.name}.partial-{os.urandom(4).hex()}")
    try:
        temporary.write_bytes(data)
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
