"""The program: ``uploader``, and ``python -m uploader``."""

import signal

from uploader.runtime import OUR_PROCESS, importing

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `obey_signals`: no traceback of imports
OUR_PROCESS.set()
with importing():
    from uploader.cli.app import main

if __name__ == "__main__":
    main()
