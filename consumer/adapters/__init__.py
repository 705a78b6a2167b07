"""What the consumer's ports look like outside: Kafka, Redis, PostgreSQL."""
