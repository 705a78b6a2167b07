"""The load test: a split brain under load, measured and judged. `./load-test.sh`, on the running fleet, in either mode."""
