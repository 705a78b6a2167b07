"""What two services must agree on, and what all of them stand on: `event`, `wire`, `ingest`, `process`, lowest first."""
