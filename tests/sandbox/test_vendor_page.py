"""The script of the vendor's own page, but for its constants, against the default sandbox."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from uploader.sandbox.server import Sandbox

PAGE = Path(__file__).parents[2].parent / "shared/seeds/upload-via-rest-api.md"
#: The page sleeps for 30 s; the script itself stays as it is.
WITHOUT_SLEEP = "import sys, time; time.sleep = lambda _: None; exec(sys.stdin.read())"


@pytest.mark.skipif(not PAGE.is_file(), reason="the vendor's page is not there")
def test_the_script_of_the_vendor_s_page_ends_with_a_ready_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    files = {"config.json": b"{}", "model.safetensors": bytes(700_000)}
    for name, content in files.items():
        (model / name).write_bytes(content)
    found = re.search(r"```python[^\n]*\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    with Sandbox(data_dir=tmp_path / "objects") as box:
        script = found[1]
        for constant, value in {
            "ACCOUNT_ID": box.account_id,
            "MODEL_ID": "my-model",
            "MODEL_PATH": str(model),
            "BASE_URL": f"{box.base_url}/v1",
        }.items():
            script, count = re.subn(
                rf'(?m)^{constant} = "[^"]*"', f'{constant} = "{value}"', script
            )
            assert count == 1
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_SLEEP],
            input=script,
            env={**os.environ, "FIREWORKS_API_KEY": box.api_key, "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("Files still finalizing") == 2
        assert "Model validated and ready to deploy!" in done.stdout
        report = box.report()
        assert report["models"] == {"accounts/sandbox/models/my-model": "READY"}
        assert report["refused"] == []
    for name, content in files.items():
        assert (tmp_path / "objects/sandbox/my-model" / name).read_bytes() == content
