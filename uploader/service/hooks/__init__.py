"""Telling others what happened to jobs: a thread of the daemon, an outbox, four kinds of receivers.

`loop.py` takes deliveries out of the outbox (`store/outbox.py`), `deliver.py` carries one out. A
receiver that is dead keeps nobody waiting: neither a job nor another hook.
"""
