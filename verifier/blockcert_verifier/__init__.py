"""The standalone BlockCert verifier: opens, checks and re-runs certificates offline."""
