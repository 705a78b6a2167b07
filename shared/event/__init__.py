"""The log event: its model, its decoders, and what becomes of it."""
