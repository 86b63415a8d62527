"""Rotary options in both spellings: ``rope_theta`` with ``rope_scaling``, and ``rope_parameters``."""

from __future__ import annotations

from blockcert.program import Scaling
from blockcert_producers.lift.options import Options
from blockcert_producers.lift.scalings import read_kind, read_scaling

__all__ = ["WHOLE", "read_rotary", "read_share", "rotated_channels"]

WHOLE = "only rotations of whole heads can be lifted"
_SHARE = "partial_rotary_factor"


def read_rotary(
    options: Options, *, size: int, context: int, default_theta: str = "10000"
) -> tuple[str, Scaling | None]:
    """The base of the rotary frequencies and their scaling (None: as they are), of heads that are rotated whole.

    Where both spellings stand in a config they must say the same: ``transformers`` silently prefers one of
    them, and which one depends on its version.

    Args:
        options: those of the model.
        size: the channels of a head.
        context: the model's greatest number of positions, ``max_position_embeddings``.
        default_theta: the base where none is given.
    """
    outer = options.number("rope_theta", default_theta)
    old, new = options.group("rope_scaling"), options.group("rope_parameters")
    if old is not None and new is not None and not old.same(new):
        options.refuse("rope_scaling", "it differs from rope_parameters, so the rotary positions are ambiguous")
    name, group = ("rope_scaling", old) if new is None else ("rope_parameters", new)
    if group is None:
        options.only(_SHARE, None, 1, 1.0, why=WHOLE)
        return outer, None
    kind, share = read_kind(group), "1"
    if kind == "proportional":
        share = read_share(group, options)
    else:
        options.only(_SHARE, None, 1, 1.0, why=WHOLE)
        group.only(_SHARE, None, 1, 1.0, why=WHOLE)
    theta = group.number("rope_theta", outer)
    if options.given("rope_theta") and theta != outer:
        options.refuse("rope_theta", f"{outer} differs from {theta} in {name}, so the rotary base is ambiguous")
    scaling = read_scaling(kind, group, theta, size=size, context=context, share=share, beside=options)
    return theta, scaling


def read_share(group: Options, beside: Options) -> str:
    """The share of rotated channels: in the group of rotary options or beside it; all of them where it is absent."""
    outer = beside.number(_SHARE, "1", zero=True)
    share = group.number(_SHARE, None if _SHARE in group else outer, zero=True)
    if beside.given(_SHARE) and share != outer:
        beside.refuse(_SHARE, f"{outer} differs from {share} in the rotary options, so the share is ambiguous")
    return share


def rotated_channels(at: Options, name: str, *, share: str, size: int) -> int:
    """So many channels of a head of ``size`` as that share is, an even number; refused as the option ``name`` of ``at``
    where it is none, or 0."""
    # as transformers cuts it: the product in binary64, its integer part
    rotated = int(size * float(share))
    if rotated < 2 or rotated % 2 or rotated > size:
        at.refuse(
            name,
            f"the share {share} rotates {rotated} of the {size} channels of a head; "
            f"it must be an even number from 2 to {size}",
        )
    return rotated
