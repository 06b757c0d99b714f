"""Protocols over one conversation, each in a file: they translate and hold no loop of their own."""
