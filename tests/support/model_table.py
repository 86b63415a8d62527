"""The table of certificates on real models: two rounded copies and three budgets each, all verified with every row.

``python -m tests.support.model_table`` prints it at the default counts, for the README.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from blockcert.statement import Predicate
from blockcert_producers.produce import Job, Produced, compare_bundle, extract_bundle
from blockcert_verifier import verify
from tests.support.certificates import NOW, corpus_for, models, rounded_copy, sign_and_trust

__all__ = ["BUDGETS", "COPIES", "Counts", "certify_model", "lines", "main"]

COPIES = ("bfloat16", "int8")
BUDGETS = ("0.01", "0.02", "0.05")
Counts = tuple[int, int, int]
"""Certification, calibration and attribution prompts."""

HEADER = (
    "| model | surrogate | multiply-adds kept | bits kept | worst block: tokens within .01 / .02 / .05 "
    "| top-1 | KL, nats | telescoping / measured |\n|---|---|---|---|---|---|---|---|"
)


def _job(model: Path, folder: Path, name: str, counts: Counts, *, calibration: bool) -> Job:
    count, calibrated, attribution = counts
    corpus = corpus_for(model, folder)
    return Job((corpus,), folder / name, count, calibrated if calibration else 0, attribution=attribution)


def _verified(produced: Produced, model: Path) -> Predicate:
    """The predicate of a certificate that verifies with every row replayed; anything else is an assertion error."""
    trust = sign_and_trust(produced.out, produced.out.parent / f"{produced.out.name}.trust.json")
    report = verify(produced.out, trust, reference=model, replay="all", at=NOW)
    assert report.verdict == "accepted", report
    return produced.statement.predicate


def certify_model(model: Path, folder: Path, counts: Counts) -> dict[str, Predicate]:
    """Verified predicates by surrogate: each rounded copy, then each budget."""
    found: dict[str, Predicate] = {}
    for form in COPIES:
        copy = rounded_copy(model, folder / f"{form} model", form)
        job = _job(model, folder, form, counts, calibration=False)
        found[f"{form} copy"] = _verified(compare_bundle(model, copy, job, now=NOW), model)
    for budget in BUDGETS:
        job = _job(model, folder, f"budget {budget}", counts, calibration=True)
        found[f"budget {budget}"] = _verified(extract_bundle(model, job, budget=budget, now=NOW), model)
    return found


def block_total(predicate: Predicate, side: str, what: str) -> int:
    """The sum over blocks of one cost; the embedding and the head are never replaced by extraction."""
    return sum(getattr(cost, what) for cost in getattr(predicate.surrogate.kept, side)[1:-1])


def _kept(predicate: Predicate, what: str) -> str:
    return f"{100 * block_total(predicate, 'surrogate', what) / block_total(predicate, 'reference', what):.1f} %"


def lines(name: str, predicates: dict[str, Predicate]) -> list[str]:
    """Rows of the table for one model."""
    rows: list[str] = []
    for surrogate, predicate in predicates.items():
        claims = predicate.claims
        blocks = claims.stages[1:-1]
        shares = [min(b.covered[r] / b.tokens for b in blocks) for r in range(3)]
        end, ratio = claims.end_to_end, claims.composition[0].ratio
        cells = (
            name,
            surrogate,
            _kept(predicate, "multiply_adds"),
            _kept(predicate, "bits"),
            " / ".join(f"{share:.3f}".lstrip("0") if share < 1 else "1" for share in shares),
            f"{end.top1_agree / end.tokens:.4f}",
            f"{float(end.kl_mean):.2g}",
            "-" if ratio is None else f"{float(ratio):.2f}",
        )
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    """Print the table at the counts that the commands use by default."""
    print(HEADER)
    for name, model in models().items():
        with tempfile.TemporaryDirectory() as scratch:
            print("\n".join(lines(name, certify_model(model, Path(scratch), (200, 200, 50)))), flush=True)


if __name__ == "__main__":
    main()
