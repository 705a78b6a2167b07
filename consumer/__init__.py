"""Kafka to rows: decode, reorder, dedup, store."""
