"""Brings an event to a region that acknowledges it. It passes dispatch, lane, queue and clients, in this order."""
