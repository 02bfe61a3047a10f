"""Action-conditioned video world models and the environment over them."""
