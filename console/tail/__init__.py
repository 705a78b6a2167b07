"""The tail: what is committed is delivered, once, whatever restarts."""
