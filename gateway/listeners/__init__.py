"""What is not HTTP: protocols that have a port of their own."""
