"""One perturbation for all inputs: how it is searched, what it does to inputs never seen, and why it exists."""
