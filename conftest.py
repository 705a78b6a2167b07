"""What all tests have in common: how they are run and reported, and the servers that they may ask for."""

pytest_plugins = ["testbed.plugin", "server_fixtures"]
