"""A world driven by one seed, in which the real timekeeper, verdict and hooks have to stay right."""
