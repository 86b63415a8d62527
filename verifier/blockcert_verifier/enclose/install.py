"""Whether the package that does ball arithmetic is here."""

from __future__ import annotations

from importlib.util import find_spec

from blockcert.errors import Refusal

__all__ = ["require_flint"]


def require_flint() -> None:
    """Return if python-flint can be imported.

    Raises:
        Refusal: ``install.prove``, which says what to install.
    """
    if find_spec("flint") is None:
        sentence = "a proof needs python-flint, which is not here; pip install 'blockcert[prove]'"
        raise Refusal("install.prove", "--prove", sentence)
