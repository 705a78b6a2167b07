"""The fleet as one thing: programs that serve all of it. No service imports them."""
