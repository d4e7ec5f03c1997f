"""Pictures of what units, directions and classes see, and images made from nothing that a model takes for something."""
