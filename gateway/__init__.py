"""The gateway: takes events by HTTP and passes them to the right region's producer."""
