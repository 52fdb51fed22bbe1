"""Where the coordinator's objects meet and its process lives."""
