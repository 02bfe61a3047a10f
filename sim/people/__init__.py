"""Scripted people who look on, judge and take over (interventions spec, section 10)."""
