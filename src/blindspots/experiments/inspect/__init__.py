"""What a model sees, and why small changes move it so far: one folder, and one kind of run, for every study."""
