"""What candidates have to fulfil, one limit per file."""
