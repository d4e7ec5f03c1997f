"""How often adversarial examples occur: the probability of an error in a ball or under noise, down to 1e-20."""
