"""Gradients, smallest distance."""
