"""The event as it was decoded before there was one decoder: what the new one is held to while it replaces this one."""
