"""Grafana Loki's query API, as far as Grafana's Explore and `logcli` need it."""
