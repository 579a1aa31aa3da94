"""The HTTP API and its page: the same documents, errors and verbs as the command line.

A request passes the doors (`doors.py`), then one route. Routes open nothing: they get the job
table, the settings and the clock in a `Site`. Nothing here is imported by a command that does
not listen.
"""
