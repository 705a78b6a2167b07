"""What a tenant may send in a while, and what happens when it sends more."""
