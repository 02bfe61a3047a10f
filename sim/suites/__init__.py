"""Worlds by the first part of an environment id."""
