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
public import BlockCert.Examples
