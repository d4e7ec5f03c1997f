"""Views of a probe, and the attack that averages over them."""
