"""What the parts can do, each figure beside one that was measured in the same run."""
