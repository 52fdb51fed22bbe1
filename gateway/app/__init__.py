"""Wiring: the only place where the gateway's objects meet and its processes start."""
