"""Arm drivers, one file each; the vendor's SDK is imported when the arm is connected."""
