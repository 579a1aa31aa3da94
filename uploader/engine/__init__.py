"""The engine: claims jobs and takes each through create → upload → validate → ready.

`worker` holds the leases, `job_run` takes one job through its stages, `upload` runs its files a few
at a time, `transfer` sends one file until it is stored, `body` reads it, `throttle` limits the
rate.
"""
