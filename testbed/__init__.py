"""What tests and benchmarks stand on; no service knows of it."""
