"""What a person could write by hand, with nothing of what an engine promises: the limits of this machine."""
