"""Keys: who a request is from, and what its sender may do. Pure, but for what watches a file."""
