"""Warn a person before a takeover is needed: learned from when people took over, judged on episodes never seen."""
