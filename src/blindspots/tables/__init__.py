"""Tables: what their columns are, what may change in them, and what has to hold between them."""
