"""File names that some system reads otherwise: in the statement, and in the folder."""

from __future__ import annotations

from collections.abc import Callable

from blockcert_producers.conformance.changes import listed
from blockcert_producers.conformance.draft import Change, Draft
from blockcert_producers.conformance.entry import Entry, case, rejected

__all__ = ["CASES"]

UNSAFE = {
    "parent": ("A name that climbs out of the bundle", "../outside", "BC-BND-04 BC-BND-07"),
    "parent-inside": ("A parent folder inside a name", "a/../b", "BC-BND-07"),
    "dot": ("A segment that is a dot", "a/./b", "BC-BND-07"),
    "empty-segment": ("An empty segment", "a//b", "BC-BND-07"),
    "absolute": ("An absolute name", "/etc/passwd", "BC-BND-06 BC-BND-07"),
    "backslash": ("A backslash", "a\\b", "BC-BND-07"),
    "drive": ("A drive", "c:/a", "BC-BND-07"),
    "device": ("A device of some systems", "con", "BC-BND-07"),
    "device-extension": ("A device with an extension", "Lpt1.txt", "BC-BND-07"),
    "device-superscript": ("A device with a superscript digit", "com\u00b9", "BC-BND-07"),
    "trailing-dot": ("A dot at the end of a segment", "a./b", "BC-BND-07"),
    "trailing-space": ("A space at the end", "a ", "BC-BND-07"),
    "wildcard": ("A character that is a wildcard elsewhere", "a*b", "BC-BND-07"),
    "decomposed": ("A name that is not in Normalization Form C", "e\u0301", "BC-BND-06 BC-BND-09"),
    "long-segment": ("A segment of 256 bytes", "a" * 256, "BC-BND-07"),
    "long-segment-in-bytes": ("A segment of 256 bytes in 128 characters", "\u00e9" * 128, "BC-BND-07"),
}
INVISIBLE = {
    "invisible": ("A zero-width space", "a\u200bb", "BC-BND-07 BC-STM-15"),
    "control": ("A control character", "a\x07b", "BC-BND-07 BC-STM-15"),
    "long": ("A name of 513 characters", "/".join(["a" * 170] * 3) + "a", "BC-BND-06"),
}
ON_DISK = {
    "backslash-on-disk": ("A file with a backslash in its name", "a\\b", "BC-BND-07 BC-BND-09"),
    "device-on-disk": ("A file with a device's name", "nul.txt", "BC-BND-07"),
    "control-on-disk": ("A file with a control character in its name", "a\x1bb", "BC-BND-07"),
    "decomposed-on-disk": ("A file whose name is not in Normalization Form C", "e\u0301", "BC-BND-06"),
}
COLLIDING = {
    "case": ("Two names that differ only in case", ("Notes.txt", "notes.TXT")),
    "sharp-s": ("Two names that are one after case folding", ("stra\u00dfe", "STRASSE")),
    "folded-then-normal": ("Two names that are one after case folding and a normal form", ("\u1e9b\u0323", "\u1e69")),
    "folder-and-file": ("A name that is a folder of another", ("extra", "EXTRA/inner")),
    "folder-twice": ("A folder in two spellings", ("Sub/one", "sub/two")),
}


def only_listed(*names: str) -> Change:
    """Names that the statement lists, and of which no file is made."""

    def apply(draft: Draft) -> None:
        for name in names:
            draft.statement["subject"].append({"name": name, "digest": {"blake3": "00" * 32, "sha256": "00" * 32}})
            draft.predicate["files"].append({"name": name, "size": 0})

    return apply


def empty_folder(name: str) -> Change:
    """A folder of this name in the bundle, with nothing in it."""
    return lambda draft: draft.on_disk(lambda folder: (folder / "bundle" / name).mkdir())


def with_files(*names: str) -> Change:
    """Names that the statement lists, with files of these names in the bundle."""

    def apply(draft: Draft) -> None:
        for name in names:
            listed(name, b"")(draft)
        draft.on_disk(lambda _folder: None)  # not every file system has such names

    return apply


ON_LINUX: dict[str, Callable[[str], Change]] = dict.fromkeys(
    (
        "backslash",
        "drive",
        "device",
        "device-extension",
        "trailing-space",
        "wildcard",
        "decomposed",
        "device-superscript",
        "trailing-dot",
    ),
    with_files,
)
"""Names that the file systems of some machines take: there, nothing but their check refuses them."""


def _in_the_statement() -> tuple[Entry, ...]:
    unsafe = (
        case(
            f"name::{name}",
            f"{tests}, in the statement",
            requirements,
            rejected("name.unsafe"),
            ON_LINUX.get(name, only_listed)(text),
        )
        for name, (tests, text, requirements) in UNSAFE.items()
    )
    invisible = (
        case(f"name::{name}", f"{tests}, in the statement", requirements, rejected("json.type"), only_listed(text))
        for name, (tests, text, requirements) in INVISIBLE.items()
    )
    colliding = (
        case(f"name::{name}", f"{tests}, in the statement", "BC-BND-08", rejected("name.collision"), with_files(*texts))
        for name, (tests, texts) in COLLIDING.items()
    )
    return (*unsafe, *invisible, *colliding)


CASES = (
    *_in_the_statement(),
    *(
        case(f"name::{name}", tests, requirements, rejected("name.unsafe"), with_files(text))
        for name, (tests, text, requirements) in ON_DISK.items()
    ),
    *(
        case(
            f"name::{name}",
            f"An empty folder: {tests.lower()}",
            f"{requirements} BC-BND-03",
            rejected("name.unsafe"),
            empty_folder(text),
        )
        for name, tests, text, requirements in (
            ("backslash-of-a-folder", "A backslash in its name", "a\\b", "BC-BND-07"),
            ("decomposed-of-a-folder", "A name that is not in Normalization Form C", "e\u0301", "BC-BND-06"),
        )
    ),
    case(
        "name::twice-in-the-statement",
        "A subject named twice",
        "BC-BND-11 BC-BND-08",
        rejected("name.collision"),
        listed("notes.txt", b"x"),
        only_listed("notes.txt"),
    ),
)
