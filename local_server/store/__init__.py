"""The database: its schema, SQLite or PostgreSQL behind it, and the SQL of the rules."""
