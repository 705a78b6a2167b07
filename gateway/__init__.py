"""HTTP in, to the right region's producer."""
