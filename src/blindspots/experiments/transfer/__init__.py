"""One image for all models: what an example that was made for one model does to others."""
