"""One attack, and what it made: pictures, tensors, a contact sheet, a table."""
