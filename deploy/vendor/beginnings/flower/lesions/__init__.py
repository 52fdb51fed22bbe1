"""A Flower App that learns to tell lesions from none."""
