"""From two programs and prompts to an unsigned bundle: measure, check oneself, state, write."""

from blockcert_producers.certify.pipeline import CertifyOptions, Work, certify
from blockcert_producers.certify.terms import default_predicates, default_thresholds

__all__ = ["CertifyOptions", "Work", "certify", "default_predicates", "default_thresholds"]
