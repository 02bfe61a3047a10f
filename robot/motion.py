"""The moving parts of a station: its kinematics, action space and safety filter, of one arm or of several.

Chosen once, here, by what the station is, so that nothing that runs in every tick asks how many arms there are.
"""

from robot.action_space import ActionSpace
from robot.kinematics.arm import ArmKinematics
from robot.kinematics.multi_arm import MultiArmKinematics
from robot.multi_arm.action_space import MultiArmActionSpace
from robot.multi_arm.safety import MultiArmSafetyFilter
from robot.multi_arm.station import MultiArmStation
from robot.safety import SafetyFilter
from robot.specs import StationSpec

Kinematics = ArmKinematics | MultiArmKinematics
Actions = ActionSpace | MultiArmActionSpace
Filter = SafetyFilter | MultiArmSafetyFilter


def make_kinematics(station: StationSpec) -> Kinematics:
    """Return what finds tcps from joint vectors of the station."""
    return MultiArmKinematics(station) if isinstance(station, MultiArmStation) else ArmKinematics(station)


def make_action_space(station: StationSpec, kinematics: Kinematics | None = None) -> Actions:
    """Return what actions of the station mean; `kinematics` may be shared within a thread."""
    kinematics = kinematics or make_kinematics(station)
    if isinstance(kinematics, MultiArmKinematics):
        return MultiArmActionSpace(station, kinematics)
    return ActionSpace(station, kinematics)


def make_filter(
    station: StationSpec, period_s: float, kinematics: Kinematics | None = None, *, bend_s: float | None = None
) -> Filter:
    """Return the safety filter of one stream of setpoints (`robot.safety.SafetyFilter` says what the periods are)."""
    kinematics = kinematics or make_kinematics(station)
    if isinstance(station, MultiArmStation) and isinstance(kinematics, MultiArmKinematics):
        return MultiArmSafetyFilter(station, kinematics, period_s, bend_s=bend_s)
    assert isinstance(kinematics, ArmKinematics)
    return SafetyFilter(station, kinematics, period_s, bend_s=bend_s)
