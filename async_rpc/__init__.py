"""Async RPC: an HTTP gateway and nine services in three shapes of a call, each service a process of its own."""
