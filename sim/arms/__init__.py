"""MuJoCo models of arms, built from station files."""
