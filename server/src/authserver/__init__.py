"""AuthPlane: a self-hosted OAuth 2.1 authorization server for the Model Context Protocol."""
