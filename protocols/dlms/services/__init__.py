"""Meter services above a session: what a person or a program asks of one meter, whatever its model.

They know COSEM classes and what their attributes mean; how requests travel is the session's
business. Nothing here needs a database.
"""
