"""Kinematics of the station, from a MuJoCo model built out of the station file."""
