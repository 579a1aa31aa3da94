"""The program: ``uploader``, and ``python -m uploader``."""

from uploader.runtime import OUR_PROCESS, importing

OUR_PROCESS.set()
with importing():
    from uploader.cli.app import main

if __name__ == "__main__":
    main()
