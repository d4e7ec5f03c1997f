"""From neighbour to neighbour, where a threat lists them."""
