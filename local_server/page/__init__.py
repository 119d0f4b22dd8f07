"""The live page: its routes, its events, what it shows and the SQL for that."""
