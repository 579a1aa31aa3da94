from __future__ import annotations

import gc

from uploader.runtime import importing


def test_nothing_is_kept_from_the_collector_once_the_modules_are_loaded() -> None:
    frozen = gc.get_freeze_count()
    with importing("gc"):
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
    with importing("a module that nobody has"):
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
    gc.unfreeze()
