"""What two services must agree on: names, hand-off, replication reports, traces, problems, topics."""
