"""Closing blind spots: `hardening` before deployment, `detection` and `smoothing` at run time, each with its price."""
