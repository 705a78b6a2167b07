"""The console: what people and programs read stored events with."""
