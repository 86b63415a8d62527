"""The names under which ``transformers`` knows the activation functions of a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

__all__ = ["ACTIVATIONS", "ActivationName"]

ActivationName: TypeAlias = Literal["gelu", "gelu_tanh", "silu", "relu"]

# ``gelu_fast`` is left out: it is the tanh form with sqrt(2/pi) cut to ten digits, another function.
ACTIVATIONS: Mapping[str, ActivationName] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}
