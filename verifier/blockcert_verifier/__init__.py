"""The BlockCert verifier: a bundle, a trust policy and the reference model in, a typed report out.

    >>> from blockcert_verifier import verify
    >>> report = verify(bundle, policy, reference=model)  # doctest: +SKIP
    >>> report.verdict  # doctest: +SKIP
    'accepted'

Nothing is printed, nothing is fetched, and no state is kept. Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blockcert_verifier.fresh_report import Fresh
    from blockcert_verifier.limits import Limits
    from blockcert_verifier.page import render_page
    from blockcert_verifier.report import (
        Audit,
        Certificate,
        Consequence,
        DepthRow,
        FrameCheck,
        Report,
        Rung,
        Signer,
        StepReport,
        Unchecked,
        to_json,
    )
    from blockcert_verifier.text import render
    from blockcert_verifier.verification import verify

__all__ = [
    "Audit",
    "Certificate",
    "Consequence",
    "DepthRow",
    "FrameCheck",
    "Fresh",
    "Limits",
    "Report",
    "Rung",
    "Signer",
    "StepReport",
    "Unchecked",
    "render",
    "render_page",
    "to_json",
    "verify",
]

_HOMES = {
    "Fresh": "blockcert_verifier.fresh_report",
    "Limits": "blockcert_verifier.limits",
    "render": "blockcert_verifier.text",
    "render_page": "blockcert_verifier.page",
    "verify": "blockcert_verifier.verification",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "blockcert_verifier.report")), name)
