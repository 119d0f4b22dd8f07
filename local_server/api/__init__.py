"""The API on the wire of Resonate v0.7: routes, request bodies, replies, search."""
