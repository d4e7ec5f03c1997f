"""Gradients at a fixed radius: any point of the ball will do."""
