"""Covo-Audio: one language model hears speech and answers in text and audio codes."""
