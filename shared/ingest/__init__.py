"""The HTTP front for log events, which gateway and producer have in common."""
