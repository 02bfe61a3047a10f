"""What ROS 2's package index needs beside pyproject.toml: `ros2 launch tandem sim.launch.py` finds its files by it."""

from pathlib import Path

from setuptools import setup

PACKAGE = "tandem"
ROOT = Path(__file__).parent
LAUNCH = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "launch").iterdir() if path.is_file())

distribution = setup(
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", LAUNCH),
    ]
)
# colcon reads the distribution's attributes back as literals, which setuptools's own kind of version range is not.
for holder in (distribution, distribution.metadata):
    holder.python_requires = str(holder.python_requires)
