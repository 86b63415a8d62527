/-
The BlockCert library.
-/
module

public import BlockCert.Composition
public import BlockCert.Telescoping
public import BlockCert.Sampling
public import BlockCert.Population
public import BlockCert.Numbers
public import BlockCert.Reader
public import BlockCert.Rounding
public import BlockCert.Counting
public import BlockCert.Json
public import BlockCert.Schema
public import BlockCert.Aggregates
public import BlockCert.Checker
public import BlockCert.Enclosures
public import BlockCert.Judge
public import BlockCert.Soundness
public import BlockCert.ProvenEnds
public import BlockCert.Bases
public import BlockCert.Audit
public import BlockCert.Strata
public import BlockCert.Stopping
public import BlockCert.Examples
public import BlockCert.ExampleCertificate
public import BlockCert.ExampleCounts

/-!
# The BlockCert library

What follows from what a certificate states and from the numbers in its evidence: `Composition` and `Telescoping`
bound a drift by what its stages do, `Population`, `Strata`, `Sampling`, `Audit` and `Stopping` say what samples
are worth, `Checker` decides which certificates are accepted, and `Soundness`, `ProvenEnds`, `Bases` and `Strata`
what an accepted one is then known to say.  `spec/16-what-is-proved.md` goes through the claims one by one.

Not said in this library: anything about floating point, about the transformer, or about the weights of a model.
Its theorems are about exact numbers and any chains of stages; that the numbers in a certificate are those of
its two models is a hypothesis in them, for replay and enclosures to establish.
-/
