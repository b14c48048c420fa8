"""Vocabulary of the head-end: pure values, no IO, no clock, no environment."""
