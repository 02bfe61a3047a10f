"""Readers that turn recorded episodes into training data."""
