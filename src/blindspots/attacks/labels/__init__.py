"""The predicted label alone."""
