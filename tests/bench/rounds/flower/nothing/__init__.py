"""A Flower App whose rounds do nothing but travel."""
