"""The ROS 2 face: messages, QoS, nodes that belong to nobody else, and the graph description."""
