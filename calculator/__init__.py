"""A calculator whose every step is a durable call: a tree of parts over named workers and a pool of operators."""
