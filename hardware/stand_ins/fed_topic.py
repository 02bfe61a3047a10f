"""A topic that shows a moving scene, without ROS: what the camera node would hand over, at the rate of a camera."""

import threading
import time
from pathlib import Path
from weakref import WeakSet

from hardware.cameras.ros_image import TopicCamera, ros_image
from hardware.stand_ins.moving_scene import color_image
from robot.clock import RateKeeper
from robot.specs import CameraSpec


class StandIn:
    """A `CameraStandIn` that feeds every camera it has made; `restamped` sends old pictures under new stamps."""

    faults: tuple[str, ...] = ("frozen", "restamped", "ended", "wrong_size")
    spec = CameraSpec(
        *("front", "world", (0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 45.0, 640, 480, 30.0, "ros_image"),
        {"topic": "front/image"},
    )

    def __init__(self) -> None:
        self._cameras: WeakSet[TopicCamera] = WeakSet()
        self._fault = ""
        threading.Thread(target=self._feed, name="topic", daemon=True).start()

    def camera(self) -> TopicCamera:
        camera = ros_image(self.spec)
        self._cameras.add(camera)
        return camera

    def inject(self, fault: str, cured_by: str = "") -> None:
        self._fault = fault

    def _feed(self) -> None:
        number, stamp_ns = 0, 0
        keeper = RateKeeper(self.spec.rate_hz)
        while True:
            keeper.wait()
            fault = self._fault
            number += fault not in ("frozen", "restamped")
            if fault != "frozen":
                stamp_ns = time.monotonic_ns()
            if fault == "ended":
                continue
            image = color_image(number, self.spec.width, self.spec.height)
            for camera in list(self._cameras):
                camera.add_color(stamp_ns, image[::2, ::2] if fault == "wrong_size" else image)


def stand_in(_folder: Path) -> StandIn:
    """Return the stand-in; it needs no files."""
    return StandIn()
