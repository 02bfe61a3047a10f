"""Arms, one driver per file; a vendor's SDK is imported when an arm is connected."""
