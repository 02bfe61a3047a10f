"""Stand-ins of real devices, each its own process, for tests without hardware and for users who have none."""
