"""BlockCert producers: lift, extract, compare, measure, state and sign."""
