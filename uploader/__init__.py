"""uploader: a local folder of Hugging Face model files becomes READY on Fireworks AI.

The architecture in forty lines. Imports point one way, and a tool checks it:

    cli → service → wiring → engine → store | remote | model | settings → runtime → core

core      decides and never touches disk, network or clock: the words (`job`), the life of a job
          as one table (`lifecycle`), the upload protocol sans-I/O (`resumable`), what each answer
          means (`retry`), what can go wrong (`errors`), what must not be printed (`redact`).
runtime   the two injected seams, `Clock` and `spawn`, and the stop token.
model     knows model folders: a walk makes a manifest, preflight names what is wrong.
store     the job table: one verb per transition, every worker's write fenced by its lease token,
          an append-only history. SQLite or PostgreSQL; Alembic runs only where a migration does.
remote    the two services: `fireworks` (control plane), `storage` (sessions and plain PUT, on
          google-resumable-media), and `http`/`sockets`, which keep keys and sockets in their place.
engine    the worker loop claims jobs under a lease; a `Run` takes one through its stages; `Upload`
          sends its files a few at a time; a `Transfer` brings one file to stored.
wiring    the composition root. service: `uploader run`. cli: parse → call → print → exit code.
sandbox   a stand-in for both services; it imports nothing of the above.

A job: `enqueue` writes rows and sends nothing. A worker claims the job (owner, token, a file lock
that proves the owner lives), POSTs the model, asks for signed URLs as a whole map, opens a session
per file and commits its URI before the first byte leaves.

A byte: disk → `Source` (256 KiB blocks, CRC32C, throttle, stop flag) → the streamed body of
google-resumable-media's request → requests → TLS → server. Memory does not grow with file size.

An offset is what the server confirmed, never what was sent. Once a second the (offset, CRC) pairs
of all files go into one transaction. After any doubt, a restart or a lost answer, the server is
asked where it stands; its answer wins over the row; the CRC up to there comes from the largest
known pair, extended by reading. So a cut costs what the server had not persisted, and the finished
object is compared with the source without reading it twice.

An error becomes a verdict (the retry table), a verdict a decision: `RetryAt` (an active job that
waits; no thread is held), `Block` (the account needs a human; heals), `Fail` (this job does).

Verbs of users (`pause`, `cancel`, …) change a status and nothing else; the worker sees it within a
second, stops at a block boundary, and after one second more shuts the job's sockets down.
"""

__version__ = "0.1.0"
