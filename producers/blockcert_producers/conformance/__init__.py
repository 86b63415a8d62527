"""The conformance corpus, built from small seeds: base bundles, one change for each case, an index.

What a case is and how a verifier is scored: ``spec/14-conformance.md``; why the corpus is built and not stored, and
why it lives here: ``spec/rationale/0015-corpus.md``.
"""

from blockcert_producers.conformance.build import all_cases, build

__all__ = ["all_cases", "build"]
