"""Policies that can be steered, the learners that improve them, and the one training loop."""
