"""Adversarial training by recipes that are data, judged by attacks that it was not trained on, beside honest controls."""
