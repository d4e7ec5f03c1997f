"""Randomised smoothing: predictions of a noisy model, and radii within which they are certified not to change."""
