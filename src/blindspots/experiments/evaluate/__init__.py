"""The main job: how often a model stays right on inputs that an adversary may change, by a protocol of attacks."""
