"""Randomised smoothing: predictions of a noisy model, and radii within which they are certified not to change."""

from blindspots.defend.smoothing.run import Asked, Certified, certify
from blindspots.defend.smoothing.smoothed import Certificates, Smoothed

__all__ = ["Asked", "Certificates", "Certified", "Smoothed", "certify"]
