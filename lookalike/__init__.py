"""The name people type: the command line, and a client for the service."""
