"""The conformance corpus from a verifier's side: its index, the protocol, scoring (`spec/14-conformance.md`)."""

from blockcert_verifier.conformance.index import Case, Expected, Index, WithoutCase, read_index
from blockcert_verifier.conformance.messages import Answer, Request, request_of

__all__ = ["Answer", "Case", "Expected", "Index", "Request", "WithoutCase", "read_index", "request_of"]
