"""Decisions: who is warned, who is cut, who never is, and why. Pure; documents come in parsed."""
