"""A score as text: one line for each family, then each failure with what was expected and what came."""

from __future__ import annotations

from blockcert.printable import plain
from blockcert_verifier.conformance.score import Result, Score

__all__ = ["render_score"]

MOST_REASONS = 10
"""Different reasons to skip that are listed."""
MOST_ALIKE = 5
"""Cases without an answer, for one and the same reason, that are listed one by one."""


def render_score(score: Score) -> str:
    """The table by family, the failures and the reasons of skipped cases, at most a few dozen columns wide."""
    families: dict[str, list[Result]] = {}
    for result in score.results:
        families.setdefault(result.id.partition("::")[0], []).append(result)
    width = max((len(name) for name in families), default=6)
    lines = [f"Conformance of {plain(score.implementation)[:200]}", ""]
    lines.append(f"{'family':<{width}}  passed  failed  skipped  other codes")
    for name, results in families.items():
        lines.append(f"{name:<{width}}  {_counts(results)}")
    lines += [f"{'all':<{width}}  {_counts(score.results)}"]
    failures = [result for result in score.results if result.status == "failed"]
    if failures:
        lines += ["", "Failed:"]
        alike: dict[str, list[str]] = {}
        for result in failures:
            if not result.got:
                alike.setdefault(result.why, []).append(result.id)
        for result in failures:
            same = [] if result.got else alike[result.why]
            if len(same) <= MOST_ALIKE:
                lines += [f"  {result.id}", f"    expected {_outcome(result.expected.verdict, result.expected.codes)}"]
                lines.append(f"    got      {_outcome(result.got, result.codes) if result.got else plain(result.why)}")
            elif result.id == same[0]:
                lines += [f"  {len(same)} cases, {same[0]} the first of them", f"    got      {plain(result.why)}"]
    reasons: dict[str, int] = {}
    for result in score.results:
        if result.status == "skipped":
            reasons[result.why] = reasons.get(result.why, 0) + 1
    if reasons:
        lines += ["", "Skipped:"]
        lines += [
            f"  {count} {'case' if count == 1 else 'cases'}: {plain(why)}"
            for why, count in [*reasons.items()][:MOST_REASONS]
        ]
        if len(reasons) > MOST_REASONS:
            lines.append(f"  and for {len(reasons) - MOST_REASONS} more reasons")
    return "\n".join(lines) + "\n"


def _counts(results: list[Result] | tuple[Result, ...]) -> str:
    passed, failed, skipped = (sum(r.status == s for r in results) for s in ("passed", "failed", "skipped"))
    other = sum(result.other_codes for result in results)
    return f"{passed:>6}  {failed:>6}  {skipped:>7}  {other:>11}"


def _outcome(verdict: str | None, codes: tuple[str, ...]) -> str:
    return f"{verdict}{' ' + ' '.join(codes) if codes else ''}"
