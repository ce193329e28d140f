"""The list of known faults fits the project; `python -m tests.audit` puts each of them in."""

from __future__ import annotations

import pytest

from tests.audit.faults import FAULTS, Fault
from tests.kit.daemon import ROOT


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.file.rpartition("/")[2])
def test_a_known_fault_can_be_put_in_and_its_test_exists(fault: Fault) -> None:
    assert (ROOT / fault.file).read_text("utf-8").count(fault.text) == 1, f"{fault.file} has {fault.text!r} not once"
    file, _, name = fault.test.partition("::")
    assert f"\ndef {name}(" in (ROOT / file).read_text("utf-8"), fault.test
