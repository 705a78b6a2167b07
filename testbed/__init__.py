"""The base of tests and benchmarks. No service imports it."""
