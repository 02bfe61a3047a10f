"""Stand-ins of real devices, each its own process: what users without hardware and tests connect to."""
