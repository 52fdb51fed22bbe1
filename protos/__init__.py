"""The treaty: what both houses must agree on to the byte."""
