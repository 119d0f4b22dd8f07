"""HTTP/1.1 on a connection: who may ask, and how much one may take."""
