"""From an event to a region that acknowledged it, in the order in which it passes: dispatch, lane, queue, clients."""
