"""The ground floor: what every world, driver, policy and learner meets the robot through."""
