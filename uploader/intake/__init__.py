"""Makes a job of a folder and a request. Prints nothing: callers (CLI, Python, HTTP) do that."""
