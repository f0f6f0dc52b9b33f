"""The command svcctl: one module a command."""
