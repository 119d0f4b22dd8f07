"""The database: its schema, how it is opened, and the SQL of the rules."""
