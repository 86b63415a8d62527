"""The lengths of prompts beyond which a program turns its heads otherwise (LongRoPE, BC-PRG-25)."""

from __future__ import annotations

from collections.abc import Iterable

from blockcert.program import LongRopeScaling, Program, Rotary

__all__ = ["original_contexts", "other_prompts"]


def original_contexts(programs: Iterable[Program]) -> tuple[int, ...]:
    """The original contexts of all LongRoPE steps that some program could be run on both sides of, ascending."""
    return tuple(
        sorted(
            {
                step.scaling.original_context
                for program in programs
                for stage in program.stages
                for step in stage.steps
                if isinstance(step, Rotary) and isinstance(step.scaling, LongRopeScaling)
                if step.scaling.original_context < program.context
            }
        )
    )


def other_prompts(contexts: tuple[int, ...], length: int) -> str | None:
    """Which prompts are turned otherwise than those of ``length`` tokens, in words; None where there are none."""
    shorter = max((context for context in contexts if context < length), default=None)
    longer = min((context for context in contexts if context >= length), default=None)
    parts = [
        *(() if shorter is None else (f"at most {shorter}",)),
        *(() if longer is None else (f"more than {longer}",)),
    ]
    return f"prompts of {' or of '.join(parts)} tokens" if parts else None
