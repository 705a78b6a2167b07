"""The ways in that the gateway speaks; `table` lists them."""
