"""Closing blind spots: `hardening` before deployment, with its price."""
