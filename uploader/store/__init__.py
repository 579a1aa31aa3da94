"""The job table: one verb per transition; every write of a worker is fenced by its lease.

See docs/invariants.md §5.
"""
