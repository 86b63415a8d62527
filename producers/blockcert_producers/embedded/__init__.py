"""Two small models that come with the package, really trained, in Hugging Face format.

``gpt2`` and ``llama`` share one tokenizer and one synthetic corpus; each folder has a model card. Importing
this module, or :mod:`.text`, needs neither torch nor transformers.
"""

from __future__ import annotations

import pathlib
from importlib import resources
from typing import Literal

Name = Literal["gpt2", "llama"]
NAMES: tuple[Name, ...] = ("gpt2", "llama")


def path(name: Name) -> pathlib.Path:
    """The folder of that model, as ``from_pretrained`` takes it."""
    if name not in NAMES:
        raise ValueError(f"no embedded model is called {name!r}: there are {', '.join(NAMES)}")
    return pathlib.Path(str(resources.files(__name__).joinpath(name)))
