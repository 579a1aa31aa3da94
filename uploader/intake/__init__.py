"""A folder and a request become a job. Prints nothing: whoever stands at the door does that."""
