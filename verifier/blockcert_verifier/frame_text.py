"""What a report says of the frame, as lines of at most 80 columns."""

from __future__ import annotations

import textwrap

from blockcert_verifier.report import FrameCheck

__all__ = ["frame_lines"]


def frame_lines(frame: FrameCheck) -> list[str]:
    """The lines of a checked frame; none where there is nothing to say of it."""
    said: list[str] = []
    if frame.status == "verified":
        said.append(
            f"The corpus gives {frame.windows} windows; each of the {frame.prompts} listed prompts is the one it is "
            "numbered as."
        )
    if frame.shared_spans:
        spans = "span stands" if frame.shared_spans == 1 else "spans stand"
        prompts = "prompt" if frame.prompts_with_shared_spans == 1 else "prompts"
        said.append(
            f"{frame.shared_spans} {spans} in both calibration and certification prompts ({frame.span} tokens each), "
            f"in {frame.prompts_with_shared_spans} certification {prompts}."
        )
    elif frame.shared_spans == 0 and frame.status == "verified":
        said.append(f"Calibration and certification prompts share no span of {frame.span} tokens.")
    elif frame.shared_spans is None:
        said.append("Spans that calibration and certification prompts share were not counted: too many tokens.")
    lines = [line for text in said for line in textwrap.wrap(text, 80, initial_indent="  ", subsequent_indent="  ")]
    return ["Frame", *lines] if lines else []
