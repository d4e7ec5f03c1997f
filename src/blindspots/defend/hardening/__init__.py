"""Proactive: adversarial training, by recipes that are data."""
