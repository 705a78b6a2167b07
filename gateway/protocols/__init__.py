"""The protocols by which the gateway takes events. `table` lists them."""
