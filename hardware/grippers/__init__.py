"""Gripper drivers, one file each."""
