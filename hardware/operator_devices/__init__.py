"""Devices in an operator's hand, one file each, and what they share: `controls` and `byte_device`."""
