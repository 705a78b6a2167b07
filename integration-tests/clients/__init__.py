"""Log clients of other make, which tests drive against the gateway: what there is, how it is installed, how it is run."""
