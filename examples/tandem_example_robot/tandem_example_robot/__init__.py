"""An arm, a task, a base policy and a recipe for Tandem, found through entry points alone."""

from pathlib import Path

STATION = Path(__file__).parent / "example_arm.yaml"
