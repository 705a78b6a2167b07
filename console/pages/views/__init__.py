"""What templates show, made of the API's JSON. PURE."""
