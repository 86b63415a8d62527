"""One run of the command line: from the words to an exit code; nothing escapes as a traceback.

Exit codes (`spec/09-result-codes.md`): 0, 1 and 3 are verdicts of `verify`; 2 is wrong usage or a refused
input; 70 is a fault of BlockCert itself; 130 is an interruption.
"""

import errno
import os
import re
import shutil
import sys
from typing import Annotated, Any

import typer

from blockcert.errors import Refusal
from blockcert.names import shown
from blockcert.printable import plain
from blockcert_producers.cli.lazy import group
from blockcert_producers.cli.table import COMMANDS

__all__ = ["FAULT", "INTERRUPTED", "REFUSED", "run"]

REFUSED = 2
FAULT = 70
INTERRUPTED = 130
_SURROGATE = re.compile("[\ud800-\udfff]")
PRODUCE = ("torch", "transformers", "tokenizers", "safetensors")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"blockcert {version('blockcert')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Signed, checkable certificates of how far a replaced transformer can drift."""


def _say(line: str) -> None:
    # a refusal names what it found in a file that anyone may have written
    try:
        print(plain(line), file=sys.stderr)
    except OSError:
        return


def _missing(fault: ImportError) -> str | None:
    """What to install for a missing module; None where the module is not one of the extras."""
    top = (fault.name or "").partition(".")[0]
    if top in PRODUCE:
        return f"this command needs {top}, which is not installed: pip install 'blockcert[produce]'"
    return None


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})
"""What a machine lacks: no fault of ours, and nothing that a bundle can bring about."""


_PATH = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM})
"""What is wrong with a path that somebody gave; the folders and files of our own are made where we may."""


def _machine(fault: OSError) -> Refusal | None:
    """The refusal that a disk or a path is, wherever it was met; None for what is a fault of ours."""
    place = "temporary folder" if fault.filename is None else str(fault.filename)[:200]
    if fault.errno in _PATH:
        return Refusal("file.unreadable", place, f"this path cannot be used: {fault.strerror}")
    if fault.errno in _FULL:
        return Refusal("output.unwritable", place, f"it cannot be written: {fault.strerror}; make room and try again")
    if isinstance(fault, shutil.Error):  # of copies: a list of what failed, without a number
        return Refusal("output.unwritable", place, f"a copy cannot be made: {str(fault.args[0])[:200]}")
    if fault.errno == errno.ENOENT and "temporary directory" in str(fault.strerror):
        sentence = "there is no folder for temporary files that can be written; make room, or name one as TMPDIR"
        return Refusal("output.unwritable", place, sentence)
    return None


def _used_up(fault: Exception) -> Refusal | None:
    """The refusal that memory is, of the machine or of its GPU, of which there is no more; None for another fault."""
    if isinstance(fault, MemoryError):
        where, what = "memory", "this machine has no more memory for it"
    elif type(fault).__name__ == "OutOfMemoryError":  # torch's, which is imported where it is used
        where, what = "--device", "the device has no more memory for it"
    else:
        return None
    return Refusal("machine.memory", where, f"{what}; take fewer or shorter prompts, or another machine or --device")


def _not_text(fault: Exception, arguments: list[str]) -> Refusal | None:
    """The refusal of a word that is not UTF-8, where it had to be text; file names may be any bytes."""
    if not isinstance(fault, UnicodeEncodeError):
        return None
    word = next((word for word in arguments if _SURROGATE.search(word)), None)
    if word is None:
        return None
    return Refusal("usage.text", shown(word, 80), "this word of the command is not UTF-8 text; write it in UTF-8")


def _report_to() -> str:
    """Where this build wants its faults reported: the tracker its metadata names, if it names one."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        urls = metadata("blockcert").get_all("Project-URL") or []
    except PackageNotFoundError:
        urls = []
    trackers = [url.partition(",")[2].strip() for url in urls if url.lower().startswith("issues")]
    where = trackers[0] if trackers else "the project you installed blockcert from"
    return f"set BLOCKCERT_DEBUG=1 for the traceback and report it to {where}"


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. Messages go to standard error, one line each.

    With BLOCKCERT_DEBUG set in the environment, a fault of BlockCert keeps its traceback.
    """
    command: Any = group(COMMANDS, _root, "blockcert", completion=True)
    try:
        code = command.main(args=arguments, prog_name="blockcert", standalone_mode=False)
        sys.stdout.flush()  # what cannot be written is refused here, and not lost on the way out
    except Refusal as refusal:
        _say(f"blockcert: {refusal}")
        return REFUSED
    except (KeyboardInterrupt, typer.Abort):
        _say("blockcert: interrupted")
        return INTERRUPTED
    except Exception as fault:
        show = getattr(fault, "show", None)
        if show is not None and hasattr(fault, "exit_code"):  # typer's own usage errors
            show()
            return REFUSED
        if isinstance(fault, ImportError) and (hint := _missing(fault)):
            _say(f"blockcert: {hint}")
            return REFUSED
        refused = _machine(fault) if isinstance(fault, OSError) else _used_up(fault) or _not_text(fault, arguments)
        if refused is not None:
            _say(f"blockcert: {refused}")
            return REFUSED
        if os.environ.get("BLOCKCERT_DEBUG"):
            import traceback

            traceback.print_exc()
        kind = type(fault).__name__
        text = " ".join(str(fault).split())[:300]
        _say(f"blockcert: internal fault, no verdict: {kind}: {text} ({_report_to()})")
        return FAULT
    if code == INTERRUPTED:
        _say("blockcert: interrupted")
    return code if isinstance(code, int) else 0
