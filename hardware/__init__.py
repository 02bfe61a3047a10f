"""Drivers of real devices, one per file, and their wire-level stand-ins."""
