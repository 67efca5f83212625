"""Every word of the lines about an epoch and a freeze check comes from a template of the catalog."""

import pytest

from headstart.i18n import translated
from headstart.telemetry.observer import epoch_sentence, freeze_check_sentence
from headstart.training.events import FreezeCheck
from tests.handmade import epoch_line
from tests.pseudo_catalog import PseudoCatalog, words_left


@pytest.mark.parametrize("best", [True, False])
def test_words_of_an_epoch_are_in_the_catalog(best: bool) -> None:
    sentence = epoch_sentence(epoch_line(50, 3, best=best, lr={"head": 0.01, "backbone": 0.001}), 12)
    assert sentence == (
        "epoch  3/12  train  50.0 % loss 1.000  val  50.0 % loss 1.000  lr 0.01 0.001  100 images/s  MFU 10 %"
        + ("  best so far, model saved" if best else "")
    )
    assert words_left(translated(sentence, PseudoCatalog())) == set()


def test_words_of_a_freeze_check_are_in_the_catalog() -> None:
    sentence = freeze_check_sentence(FreezeCheck("frozen", 3, 2, "0" * 64, "0" * 64))
    assert sentence == (
        "Freeze check passed: all tensors but 2 kept their sha256 (000000000000…) in phase frozen, BatchNorm "
        "statistics included."
    )
    assert words_left(translated(sentence, PseudoCatalog())) == {"frozen"}
