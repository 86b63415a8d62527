"""`blockcert trust set`: what a policy asks of a certificate, after it was new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, get_args

import typer

from blockcert.errors import Refusal
from blockcert.numbers import parse_decimal
from blockcert_producers.cli.trust_change import Keep, NewPolicy, Policy

__all__ = ["set_"]

NONE = "none"
"""In the place of a value: there is no such limit."""
_POPULATION = {"share": "share", "threshold": "threshold", "at-least": "at_least", "alpha": "alpha"}
"""The words of a population limit, and the fields that they fill."""
_KINDS = {
    "covered": ("share", "threshold"),
    "top1": ("share",),
    "kl": ("threshold",),
    "loss_difference": ("threshold",),
    "logit_difference": ("threshold",),
}
"""The kinds of a population predicate, and what tells one of a kind from another (``spec/08-claims.md``)."""


def _limit(name: str, metavar: str, words: str) -> Any:
    return typer.Option(name, metavar=metavar, help=words)


def set_(
    *,
    policy: Policy,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", metavar="STEP", help="A step that must have passed too; again for more."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="STEP", help="A step that need not have passed; again for more."),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option("--threshold", metavar="N", min=1, max=256, help="How many producers must sign.")
    ] = None,
    approvals: Annotated[
        int | None, typer.Option("--approvals", metavar="N", min=0, max=256, help="How many auditors must approve.")
    ] = None,
    revoker_threshold: Annotated[
        int | None,
        typer.Option("--revoker-threshold", metavar="N", min=1, max=256, help="How many revokers must sign a list."),
    ] = None,
    owner_threshold: Annotated[
        int | None,
        typer.Option("--owner-threshold", metavar="N", min=1, max=256, help="How many owners must sign the next."),
    ] = None,
    revocations: Annotated[
        str | None, _limit("--revocations", "WHERE", "Ask for a revocation list; WHERE says who publishes it.")
    ] = None,
    coverage: Annotated[
        str | None,
        _limit("--coverage", "SHARE@THRESHOLD", "In every stage, this share of tokens within this relative error."),
    ] = None,
    relative_drift: Annotated[str | None, _limit("--relative-drift", "X", "Greatest relative drift.")] = None,
    top1_share: Annotated[str | None, _limit("--top1-share", "SHARE", "Least share of top-1 agreement.")] = None,
    kl_mean: Annotated[str | None, _limit("--kl-mean", "X", "Greatest mean KL, in nats.")] = None,
    loss_difference: Annotated[
        str | None, _limit("--loss-difference", "X", "Greatest mean loss difference, in nats, of either sign.")
    ] = None,
    logit_difference: Annotated[str | None, _limit("--logit-difference", "X", "Greatest logit difference.")] = None,
    least_basis: Annotated[
        str | None,
        _limit("--least-basis", "BASIS", "Weakest basis of a claim: proof, enclosure, measurement, estimate."),
    ] = None,
    greatest_age_days: Annotated[
        str | None, _limit("--greatest-age-days", "DAYS", "Issued less than so many days ago.")
    ] = None,
    least_audit_rows: Annotated[
        str | None, _limit("--least-audit-rows", "N", "Rows that a replay must have confirmed.")
    ] = None,
    accept: Annotated[
        list[str] | None,
        _limit("--accept", "VERSION", "Certificates of this version, in place of those there were; again for more."),
    ] = None,
    accept_type: Annotated[
        list[str] | None,
        _limit("--accept-type", "TYPE", "Of this predicate type, in place of those there were; again for more."),
    ] = None,
    population: Annotated[
        list[str] | None,
        _limit(
            "--population",
            "'KIND NAME=VALUE…'",
            "A bound over all windows, in place of those there were; again for more: covered, top1, kl, "
            "loss_difference or logit_difference, with share=, threshold=, at-least= and alpha=.",
        ),
    ] = None,
    keep_number: Keep = False,
    out: NewPolicy,
) -> None:
    """Write the policy with other thresholds, steps or limits; its number grows by one. The word none lifts a limit."""
    import msgspec

    from blockcert import trust
    from blockcert.printable import plain
    from blockcert.statement import PREDICATE_VERSION
    from blockcert_producers.cli.policy_text import differences, printed
    from blockcert_producers.cli.trust_change import write_changed
    from blockcert_verifier.verification import read_policy

    old = read_policy(policy)
    texts = {
        "relative_drift": relative_drift,
        "top1_share": top1_share,
        "kl_mean": kl_mean,
        "loss_difference": loss_difference,
        "logit_difference": logit_difference,
        "least_basis": least_basis,
    }
    counts = {"greatest_age_days": greatest_age_days, "least_audit_rows": least_audit_rows}
    limits: dict[str, Any] = {name: _text(name, text) for name, text in texts.items() if text is not None}
    limits |= {name: _count(name, text) for name, text in counts.items() if text is not None}
    if coverage is not None:
        limits["coverage"] = coverage if coverage == NONE else _coverage(coverage)
    if population is not None and population != []:
        limits["population"] = NONE if population == [NONE] else [_population(one) for one in population]
    needed = {"producer": threshold, "auditor": approvals, "revoker": revoker_threshold, "owner": owner_threshold}
    thresholds = {role: count for role, count in needed.items() if count is not None}
    accepted = {
        "versions": list(dict.fromkeys(accept or ())),
        "predicate_types": list(dict.fromkeys(accept_type or ())),
    }
    if not (limits or thresholds or require or without or accept or accept_type) and revocations is None:
        raise Refusal("usage.trust", "trust set", "say what to change, for instance --greatest-age-days 365")
    # built as a document and read as one: what no policy may hold is refused as in a file that a person wrote
    document: dict[str, Any] = msgspec.to_builtins(old)
    document["limits"] |= {name: None if value == NONE else value for name, value in limits.items()}
    document["thresholds"] |= thresholds
    document["accept"] |= {name: words for name, words in accepted.items() if words}
    document["require"] = _steps(old.require, require or (), without or ())
    if revocations is not None:
        document["revocation"] = None if revocations == NONE else {"source": revocations}
    new = trust.parse_policy(msgspec.json.encode(document), "new policy")
    written = write_changed(old, new, out, keep_number)
    print(plain(f"Wrote {out}, number {written.number}."))
    print(printed(["Against the policy before it, this one", *(f"  {line}" for line in differences(old, written))]))
    unread = [version for version in written.accept.versions if version != PREDICATE_VERSION]
    if accept and unread:
        sentence = f"This BlockCert reads version {PREDICATE_VERSION} alone; of {', '.join(unread)} it decides nothing."
        print(printed([sentence]))


def _steps(held: Sequence[str], more: Sequence[str], fewer: Sequence[str]) -> list[str]:
    """The steps to require, in their order."""
    from blockcert.findings import STEPS

    known: tuple[str, ...] = STEPS
    for step in more:
        if step not in known:
            raise Refusal("trust.require", "--require", f"there is no step {step[:80]!r}; there are {', '.join(known)}")
    for step in fewer:
        if step not in held:
            raise Refusal("trust.require", "--without", f"the policy does not require {step[:80]!r}")
    return sorted({*held, *more} - {*fewer}, key=known.index)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _text(name: str, text: str) -> str:
    """A decimal, or one of the bases, or the word none."""
    from blockcert.statement import Basis

    bases = get_args(Basis)
    if name == "least_basis":
        if text not in (*bases, NONE):
            sentence = f"there is no basis {text[:80]!r}; there are {', '.join(bases)}, and {NONE} for any"
            raise Refusal("usage.trust", _option(name), sentence)
    elif text != NONE:
        parse_decimal(text, _option(name))
    return text


def _count(name: str, text: str) -> int | str:
    """A whole number from 1 on, or the word none."""
    if text == NONE:
        return NONE
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text)):
        sentence = f"{text[:80]!r} is no whole number from 1 to 10^15, nor the word {NONE}"
        raise Refusal("usage.trust", _option(name), sentence)
    return int(text)


def _coverage(text: str) -> dict[str, str]:
    share, at, threshold = text.partition("@")
    if not at:
        sentence = f"{text[:80]!r} is not SHARE@THRESHOLD, as in 0.95@0.1, nor the word {NONE}"
        raise Refusal("usage.trust", "--coverage", sentence)
    for part in (share, threshold):
        parse_decimal(part, "--coverage")
    return {"share": share, "threshold": threshold}


def _population(text: str) -> dict[str, Any]:
    """`covered share=0.9 threshold=0.1 at-least=0.95 alpha=0.01` as a policy has it."""
    kind, *rest = text.split() or [""]
    if kind not in _KINDS:
        raise Refusal("usage.trust", "--population", f"there is no kind {kind[:80]!r}; there are {', '.join(_KINDS)}")
    given: dict[str, str] = {}
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals or name not in _POPULATION or name in given:
            sentence = f"{word[:80]!r} is none of {', '.join(f'{one}=VALUE' for one in _POPULATION)}, each once"
            raise Refusal("usage.trust", "--population", sentence)
        parse_decimal(value, f"--population {name}")
        given[name] = value
    needed = [*_KINDS[kind], "at-least", "alpha"]
    if sorted(given) != sorted(needed):
        sentence = f"of {kind} a limit says {', '.join(f'{one}=' for one in needed)}, these and no more"
        raise Refusal("usage.trust", "--population", sentence)
    return {"kind": kind, "share": None, "threshold": None} | {_POPULATION[name]: text for name, text in given.items()}
