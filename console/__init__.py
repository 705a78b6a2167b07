"""Reading: search, the tail, and the pages."""
