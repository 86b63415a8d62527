"""The steps of a verification, each a function from what it needs to findings (``spec/10-verification.md``)."""
