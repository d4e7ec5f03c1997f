"""What a model sees, and why small changes move it so far: measured, with intervals."""
