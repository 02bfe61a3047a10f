"""Methods that learn inside a world model, each a short file over shared parts."""
