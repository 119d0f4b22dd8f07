"""The API on the wire of Resonate v0.7: routes, request bodies (and too large ones), replies, search, removal."""
