"""The BlockCert format: types, exact numbers, digests, envelope, keys, bundle, bound arithmetic."""
