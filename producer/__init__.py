"""HTTP in, to the region's Kafka, acknowledged."""
