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
