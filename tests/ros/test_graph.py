"""What the graph offers: topics, types and QoS by introspection; both front ends alike."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from robot.errors import ConfigError
from robot.ros import topics
from robot.ros.description import (
    CONTROL_PROFILE,
    DISCOVERY,
    PROFILE,
    PROFILE_VARIABLES,
    GraphOptions,
    describe,
    environment,
    node_environment,
)
from robot.ros.topics import Topic
from tests.ros.probe import Probe

PUBLISHED = (
    topics.JOINT_STATES, topics.OBJECT_STATE, topics.SIM_STATE, topics.APPLIED_COMMAND, topics.COMMAND,
    topics.ACTION_CHUNK, topics.CHUNK_INFO, topics.POLICY_ALIVE, topics.SAFETY_STATE, topics.ESTOP, topics.AUTHOR,
    topics.TICK_RECORD, topics.TASK_OUTCOME, topics.EPISODE_STATE, topics.WORLD_READY, topics.DIAGNOSTICS,
    topics.NODE_ALIVE,
)  # fmt: skip


@pytest.mark.ros
@pytest.mark.parametrize("topic", PUBLISHED, ids=lambda topic: topic.name)
def test_a_topic_has_the_type_and_qos_of_the_table(shared_graph: Probe, topic: Topic) -> None:
    node = shared_graph.client.node
    name = topic.name if topic.name.startswith("/") else f"/{topic.name}"
    shared_graph.wait(lambda: node.get_publishers_info_by_topic(name), 5.0, f"a publisher of {name}")
    for end in node.get_publishers_info_by_topic(name):
        assert end.topic_type == topic.type
        assert end.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        is_latched = end.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        assert is_latched == topic.publish.latched


@pytest.mark.ros
def test_services_are_offered(shared_graph: Probe) -> None:
    offered = dict(shared_graph.client.node.get_service_names_and_types())
    for service in topics.SERVICES:
        assert offered[f"/{service}"] == [topics.TRIGGER]


@pytest.mark.ros
def test_nodes_that_move_the_arm_share_no_memory_with_anybody(shared_graph: Probe) -> None:
    for name, process in shared_graph.graph.processes.nodes.items():
        assert "/dev/shm/fastrtps" not in Path(f"/proc/{process.pid}/maps").read_text(), name


def test_no_subscriber_of_the_table_asks_for_more_than_is_published() -> None:
    for topic in topics.TOPICS:
        assert topic.publish.reliable >= topic.subscribe.reliable, topic.name
        assert topic.publish.latched >= topic.subscribe.latched, topic.name


def test_every_described_module_exists_and_is_given_no_unknown_parameter() -> None:
    options = GraphOptions(policy="policy.pt", operator="page", record="episodes")
    for spec in [*describe(options), *describe(GraphOptions(operator="scripted", script={"takeovers": "20+30"}))]:
        assert find_spec(spec.module), spec.module
        words = spec.argv()
        assert words[:3] == [sys.executable, "-m", spec.module]
        assert words[3] == "--ros-args"


def test_the_user_s_environment_is_kept() -> None:
    theirs = environment({"FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"})
    assert theirs["FASTRTPS_DEFAULT_PROFILES_FILE"] == "/mine.xml"
    assert theirs["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert environment({"FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml"})[DISCOVERY] == "LOCALHOST"
    assert environment({DISCOVERY: "LOCALHOST"})[DISCOVERY] == "SYSTEM_DEFAULT"  # the profile stays at home by itself
    assert [environment({})[name] for name in PROFILE_VARIABLES] == [str(PROFILE)] * 2
    for spec in describe(GraphOptions(record="episodes")):
        added = node_environment(spec, environment({}))
        assert set(added.values()) == (set() if spec.name in ("scene", "wrist", "recorder") else {str(CONTROL_PROFILE)})
        assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in node_environment(spec, theirs)
    with pytest.raises(ConfigError, match="0 to 101"):
        environment({}, 102)
