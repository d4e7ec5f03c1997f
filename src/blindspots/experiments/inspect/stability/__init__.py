"""How far a small change can move a network, layer by layer: norms, bounds, gradients, amplification."""
