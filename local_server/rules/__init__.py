"""The rules: what a request or the clock changes. No IO, no clock of their own; ``states`` is where to start."""
