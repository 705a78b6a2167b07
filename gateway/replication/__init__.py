"""What is known about the copying between regions, from what their consumers say."""
