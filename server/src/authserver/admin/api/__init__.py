"""The endpoints, one module per noun. Only the process that serves them imports this, when the first request comes."""
