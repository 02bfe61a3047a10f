"""The operator station: the page, its server and its node."""
