"""What needs lerobot, which lives in an environment of its own (constraints/lerobot.txt)."""
