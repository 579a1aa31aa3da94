"""google-cloud-storage against the sink's JSON API: FOLDER BASE_URL WORKERS.

With one worker `upload_from_filename` sends file after file; with more, `transfer_manager` does,
in as many processes (its default kind of worker).
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage import transfer_manager


def main(folder: str, base_url: str, workers: str) -> None:
    """Send every file of ``folder`` to the bucket."""
    client = storage.Client(
        project="sink",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": base_url},
    )
    bucket = client.bucket("bucket")
    names = [path.name for path in Path(folder).iterdir()]
    if workers == "1":
        for name in names:
            bucket.blob(name).upload_from_filename(str(Path(folder) / name))
        return
    results = transfer_manager.upload_many_from_filenames(
        bucket, names, source_directory=folder, max_workers=int(workers)
    )
    if errors := [result for result in results if isinstance(result, Exception)]:
        raise errors[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
