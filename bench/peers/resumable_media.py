"""google-resumable-media as its documentation uses it: FOLDER BASE_URL CHUNK_MIB.

The documentation's transport is an `AuthorizedSession`; signed URLs need none, so it is a plain
`requests.Session`. URLs come from the same control plane as everyone's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import requests
from google.resumable_media.requests import ResumableUpload

TYPE = "application/octet-stream"


def main(folder: str, base_url: str, chunk_mib: str) -> None:
    """Send each file of ``folder`` in turn."""
    transport = requests.Session()
    sizes = {path.name: path.stat().st_size for path in Path(folder).iterdir()}
    model = f"{base_url}/v1/accounts/sink/models"
    transport.post(model, json={"modelId": "peer"}).raise_for_status()
    asked = {"filenameToSize": sizes, "enableResumableUpload": True}
    answer = transport.post(f"{model}/peer:getUploadEndpoint", json=asked)
    for name, url in answer.json()["filenameToSignedUrls"].items():
        span = f"{sizes[name]},{sizes[name]}"
        headers = {"x-goog-resumable": "start", "x-goog-content-length-range": span}
        upload = ResumableUpload(url, int(chunk_mib) << 20, headers=headers)
        with (Path(folder) / name).open("rb") as stream:
            upload.initiate(transport, stream, {}, TYPE)
            while not upload.finished:
                upload.transmit_next_chunk(transport)


if __name__ == "__main__":
    main(*sys.argv[1:])
