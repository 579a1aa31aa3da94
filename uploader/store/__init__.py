"""The job table: one verb per transition, every worker write fenced by its lease.

See docs/invariants.md §5.
"""
