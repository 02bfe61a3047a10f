"""Many actors, one learner: worlds that are stepped in processes of their own, here or on a Ray cluster."""
