"""Which lies a verifier catches, how often, and how often theory says it does.

Every lie is signed with the trusted key, and every digest and claim is put right around it: what is left to catch it is
recomputation, replay and fresh prompts.
"""

from tests.benchmarks.red_team.run import report

__all__ = ["report"]
