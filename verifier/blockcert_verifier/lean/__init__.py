"""The Lean checker beside this verifier: what it is given, where it runs, and the same verdict here."""
