"""The thresholds and population predicates that producers use unless told otherwise (``spec/08-claims.md``)."""

from __future__ import annotations

from blockcert.statement import PopulationPredicate, Thresholds

__all__ = ["default_predicates", "default_thresholds"]


def default_thresholds() -> Thresholds:
    """The spec's own thresholds: 0.01, 0.02, 0.05 relative; 0.001, 0.01, 0.1 nats."""
    return Thresholds(relative=("0.01", "0.02", "0.05"), loss=("0.001", "0.01", "0.1"), post_hoc=False)


def default_predicates(thresholds: Thresholds) -> tuple[PopulationPredicate, ...]:
    """95 % of tokens covered in every block at each relative threshold, top-1 agreement at 95 % of positions, and mean
    divergence and loss difference at most 0.01 nats where that is a listed threshold."""
    covered = tuple(PopulationPredicate("covered", "0.95", threshold) for threshold in thresholds.relative)
    nats = "0.01" if "0.01" in thresholds.loss else thresholds.loss[0]
    return (
        *covered,
        PopulationPredicate("top1", "0.95", None),
        PopulationPredicate("kl", None, nats),
        PopulationPredicate("loss_difference", None, nats),
    )
