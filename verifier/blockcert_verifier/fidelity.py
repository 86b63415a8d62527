"""How close a lifted program comes to ``transformers``: the largest logit difference on given prompts.

The program is the definition; ``transformers`` in float32 with eager attention, as shipped, is the cross-check.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.numbers import exact, round_up
from blockcert.program import Program
from blockcert.statement import Fidelity
from blockcert_verifier.counted import counted
from blockcert_verifier.widening import stored_dtype, widen_while_used

__all__ = [
    "GROSS",
    "Compared",
    "DType",
    "Evaluate",
    "compare_logits",
    "compare_program",
    "float64_modules",
    "measure_fidelity",
    "not_run_by",
    "require_transformers",
    "software",
    "transformers_logits",
]

Array: TypeAlias = np.ndarray[Any, Any]
Evaluate: TypeAlias = Callable[[Program, Array], Array]
"""Logits ``B x T x vocabulary`` in float64 of a program on tokens ``B x T``."""

DType: TypeAlias = Literal["float32", "float64"]

GROSS = Fraction(1, 100)
"""Of the largest logit: no rounding, if float64 gives it too (BC-VER-28)."""
_CELLS = 1 << 25
"""Logits held at once on each side: 256 MiB in float64."""
_running: ContextVar[bool] = ContextVar("_running", default=False)
"""Whether a model runs in this thread, rather than being loaded: loading needs the true types of tensors."""


class Compared(Struct, frozen=True):
    """A program beside the software that runs its checkpoint: the largest logit difference and the largest logit of
    that software in float32, and whether no rounding explains the difference (:data:`GROSS`, in float64 too)."""

    difference: Fraction
    largest: Fraction
    gross: bool

    def words(self, rows: int) -> str:
        """What was seen on so many prompts, as the middle of a sentence."""
        found = (
            f"on {counted(rows, 'prompt')} its logits and those of {software('float32')} differ by "
            f"{round_up(self.difference)}, where the largest logit is {round_up(self.largest)}"
        )
        return f"{found}: no rounding does that, and float64 gives it too" if self.gross else found


def compare_program(folder: Path, program: Program, tokens: Array, evaluate: Evaluate) -> Compared:
    """``program`` beside its checkpoint, run by ``transformers`` in float32, and in float64 where that differs grossly.

    Args:
        folder: the checkpoint that ``program`` was lifted from.
        tokens: token ids, ``rows x T``.
        evaluate: the evaluator of programs in float64.

    Raises:
        Refusal: ``install.produce`` where torch or transformers is missing, ``fidelity.not_finite``.
    """
    difference, largest = map(exact, compare_logits(folder, program, tokens, evaluate, "float32"))
    gross = difference > GROSS * largest
    if gross:
        with float64_modules():
            wide, scale = map(exact, compare_logits(folder, program, tokens, evaluate, "float64"))
        gross = wide > GROSS * scale
    return Compared(difference, largest, gross)


def measure_fidelity(folder: Path, program: Program, tokens: Array, evaluate: Evaluate) -> Fidelity:
    """The largest logit difference between ``program`` and its checkpoint, as a statement has it (BC-STM-13).

    Arguments as :func:`compare_program`.

    Raises:
        Refusal: ``fidelity.mismatch`` where every verifier that compares would reject the program (BC-VER-28);
            ``fidelity.not_run`` where ``transformers`` does not run the checkpoint; as :func:`compare_program`.
    """
    try:
        found = compare_program(folder, program, tokens, evaluate)
    except (Refusal, MemoryError):
        raise
    except Exception as fault:  # whatever the other software makes of this checkpoint
        raise Refusal("fidelity.not_run", str(folder), not_run_by(fault)) from fault
    if found.gross:
        sentence = (
            f"the program lifted from this checkpoint is not what the checkpoint computes: {found.words(len(tokens))}; "
            "nothing is certified of it (please report it, with the config.json)"
        )
        raise Refusal("fidelity.mismatch", str(folder), sentence)
    return Fidelity(against=software("float32"), rows=len(tokens), max_logit_difference=round_up(found.difference))


def not_run_by(fault: Exception) -> str:
    """One sentence on why ``transformers`` does not run a checkpoint."""
    reason = " ".join(str(fault).split())[:200]
    return f"transformers does not run this checkpoint: {type(fault).__name__}: {reason}"


def software(dtype: DType) -> str:
    """The software that a program is compared with, its version, and how it runs."""
    return f"transformers {import_module('transformers').__version__}, {dtype}, eager attention"


def compare_logits(
    folder: Path, program: Program, tokens: Array, evaluate: Evaluate, dtype: DType
) -> tuple[float, float]:
    """The largest logit difference, and the largest absolute logit of ``transformers`` in ``dtype``.

    Arguments and refusals as :func:`compare_program`.
    """
    rows, length = tokens.shape
    step = max(1, _CELLS // (length * program.vocabulary))
    run = _load(folder, dtype)
    largest, scale = 0.0, 0.0
    for begin in range(0, rows, step):
        part = tokens[begin : begin + step]
        theirs = run(part)
        difference = float(np.max(np.abs(evaluate(program, part) - theirs), initial=0.0))
        if not np.isfinite(difference):
            raise Refusal(
                "fidelity.not_finite",
                str(folder),
                f"a logit of the prompts {begin} to {begin + len(part) - 1} is NaN or infinite",
            )
        largest, scale = max(largest, difference), max(scale, float(np.max(np.abs(theirs), initial=0.0)))
    return largest, scale


def transformers_logits(folder: Path, tokens: Array, dtype: DType) -> Array:
    """The logits of ``transformers``, ``rows x T x vocabulary`` in float64, computed in ``dtype``.

    In ``float64`` some modules still round to float32 inside; see ``float64_modules``.
    """
    return _load(folder, dtype)(tokens)


def require_transformers() -> None:
    """Nothing, where torch and transformers can be imported; else refuses ``install.produce``."""
    _torch()


@contextmanager
def float64_modules() -> Generator[None]:
    """While it lasts, ``transformers`` computes in float64 where it otherwise casts to float32.

    Norms, rotary tables and the softmax of eager attention ask for float32 by ``x.float()``, ``x.to(torch.float32)`` or
    ``dtype=torch.float32``. Those calls are answered with float64 on their way into torch (a ``TorchFunctionMode``), so
    every formula stays the module's own, of whatever family, and no module or class is changed: the mode belongs to
    this thread and ends with the context. While a model runs, float64 also answers to the name of float32 (GPT-2's
    upcast attention looks whether it got the float32 that it asked for).
    """
    torch = _torch()
    overrides: Any = import_module("torch.overrides")
    # these read bytes as a type rather than convert to it: another type would be other numbers
    reinterpret = (torch.Tensor.view, torch.frombuffer, torch.asarray)
    type_of = torch.Tensor.dtype.__get__

    class Wide(overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named: dict[str, Any] = kwargs or {}
            if func is torch.Tensor.float:
                func = torch.Tensor.double
            elif func == type_of:
                found = func(*args, **named)
                return torch.float32 if found is torch.float64 and _running.get() else found
            elif func not in reinterpret:
                args = tuple(torch.float64 if value is torch.float32 else value for value in args)
                named = {key: torch.float64 if value is torch.float32 else value for key, value in named.items()}
            return func(*args, **named)

    with Wide():
        yield


def _torch() -> Any:
    try:
        torch = import_module("torch")
        import_module("transformers")
    except ImportError as error:
        raise Refusal(
            "install.produce",
            str(error.name),
            "the checkpoint is run beside the program lifted from it, by torch and transformers; one is not here: "
            "pip install 'blockcert[produce]'",
        ) from error
    return torch


@contextmanager
def _quiet_and_offline() -> Generator[Any]:
    """``transformers``, silent and without the network for as long as this lasts."""
    name = "HF_HUB_OFFLINE"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        _torch()
        transformers: Any = import_module("transformers")
        logging: Any = transformers.utils.logging
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield transformers
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _load(folder: Path, dtype: DType) -> Callable[[Array], Array]:
    """What runs the checkpoint in ``dtype``; 16-bit weights stay so in memory and are widened where they are used."""
    with _quiet_and_offline() as transformers:
        torch = _torch()

        def read(held: str) -> Any:
            return transformers.AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=getattr(torch, held),
                attn_implementation="eager",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            ).eval()

        narrow = stored_dtype(folder) if dtype == "float32" else None
        model = read(narrow or dtype)
        if narrow is not None and not widen_while_used(model, torch.float32):
            del model
            model = read(dtype)

    def run(tokens: Array) -> Array:
        with torch.inference_mode():
            ids = torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64))
            token = _running.set(True)
            try:
                logits = model(input_ids=ids, use_cache=False).logits
            finally:
                _running.reset(token)
        return logits.to(torch.float64).numpy()

    return run
