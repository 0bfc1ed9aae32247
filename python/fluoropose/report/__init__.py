"""Pictures and reports of what was registered."""
