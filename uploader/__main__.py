"""The program: ``uploader``, and ``python -m uploader``."""

from uploader.runtime import importing

with importing():
    from uploader.cli.app import main

if __name__ == "__main__":
    main()
