"""``python -m uploader``."""

from uploader.cli.app import main

main()
