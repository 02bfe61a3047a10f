"""Learning from takeovers: what methods derive from the record, and the worlds and rounds they collect it in."""
