"""The producer: takes events by HTTP and writes them to the region's Kafka, acknowledged."""
