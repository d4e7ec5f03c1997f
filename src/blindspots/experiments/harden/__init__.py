"""Adversarial training by recipes that are data, judged by attacks of other kinds, beside honest controls."""
