"""Types of documents have annotations that were evaluated when the module was compiled.

msgspec evaluates those that are text when it first decodes such a type, and evaluating text takes longer than all else
that a small verification does with a statement: their modules do without ``from __future__ import annotations``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec import Struct

from blockcert.dsse import Envelope
from blockcert.program import Program
from blockcert.review import ReviewStatement
from blockcert.revocation import RevocationList
from blockcert.statement import Statement
from blockcert.trust import TrustPolicy


def _text(kind: type[Struct]) -> Iterator[str]:
    """The fields of a type, and of all types of its module, whose annotations are text."""
    waiting = [Struct]
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if one.__module__ == kind.__module__:
            annotations = vars(one).get("__annotations__", {})
            yield from (f"{one.__name__}.{name}" for name, value in annotations.items() if isinstance(value, str))


@pytest.mark.parametrize("kind", [Envelope, Program, ReviewStatement, RevocationList, Statement, TrustPolicy])
def test_types_of_documents_have_evaluated_annotations(kind: type[Struct]) -> None:
    assert list(_text(kind)) == []
