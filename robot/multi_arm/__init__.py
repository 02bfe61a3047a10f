"""Stations of several arms: single-arm stations side by side, their parts run one by one and their values in a row."""
