"""Scores alone, no gradients."""
