"""The console: search, tail, the life of an event, for programs and for people."""
