"""What other parties put beside a certificate: signed statements, and the reports that a review may rest on.

The normative text is ``spec/11-trust.md``, "What is appended". Anybody can put a file there: nothing here is a reason
to believe one.
"""

from __future__ import annotations

from typing import Literal

from blake3 import blake3
from msgspec import Struct

from blockcert import strict_json

__all__ = [
    "FOLDER",
    "MOST_BYTES",
    "MOST_STATEMENTS",
    "check_report",
    "is_appended",
    "is_report",
    "is_statement",
    "report_name",
    "statement_name",
]

FOLDER = "appended/"
"""The folder of a bundle in which statements of other parties stand."""
MOST_STATEMENTS = 64
"""Most statements beside one certificate that a verifier reads."""
MOST_BYTES = 1 << 20
"""Cap on a revocation list beside a certificate; a review has a smaller one of its own."""
_STATEMENT, _REPORT = ".dsse.json", ".report.json"


class _Report(Struct, frozen=True):
    """As much of a report as says that it is one."""

    type: Literal["blockcert-report"]
    version: str


def _is(name: str, ending: str) -> bool:
    inner = name.removeprefix(FOLDER)
    return inner != name and inner.endswith(ending) and inner != ending and "/" not in inner


def is_statement(name: str) -> bool:
    """Whether a file of a bundle is a signed statement that another party put beside the certificate."""
    return _is(name, _STATEMENT)


def is_report(name: str) -> bool:
    """Whether a file of a bundle is a report beside the certificate, for which a review that names it may vouch."""
    return _is(name, _REPORT)


def is_appended(name: str) -> bool:
    """Whether a file of a bundle stands beside the certificate, and is no subject of it."""
    return is_statement(name) or is_report(name)


def statement_name(data: bytes) -> str:
    """The name under which an envelope stands in a bundle: two parties may say the same at the same time, so it is of
    words and signatures together."""
    return f"{FOLDER}{blake3(data).hexdigest()[:32]}{_STATEMENT}"


def report_name(data: bytes) -> str:
    """The name under which a report stands in a bundle."""
    return f"{FOLDER}{blake3(data).hexdigest()[:32]}{_REPORT}"


def check_report(data: bytes, place: str) -> None:
    """Returns None where ``data`` is JSON that says of itself that it is a report.

    Raises:
        Refusal: what the JSON gate refuses, ``json.type`` for anything else.
    """
    strict_json.decode(data, _Report, place, strict_json.REPORT)
