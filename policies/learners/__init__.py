"""Off-policy and supervised learners: `learner.update(batch) -> metrics`."""
