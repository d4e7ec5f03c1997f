"""Single units against random directions of the same layer."""
