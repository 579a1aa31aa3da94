"""The engine: claims jobs and drives each create → upload → validate → ready.

`worker` holds the leases, `pipeline` takes one job through its stages, `upload` runs its files a
few at a time, `transfer` brings one file to stored, `source` reads it, `throttle` slows it down.
"""
