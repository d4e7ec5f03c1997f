"""Designs: what a learned objective promises, beside what is true."""
