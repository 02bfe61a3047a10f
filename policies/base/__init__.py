"""Base policies, found by name through the entry-point group `tandem.bases`."""
