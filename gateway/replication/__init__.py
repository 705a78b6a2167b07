"""Watches the replication between regions by the reports of their consumers."""
