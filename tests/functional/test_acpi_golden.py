# SPDX-License-Identifier: GPL-2.0-or-later
"""The ACPI tables are, word by word, those that were looked at last: scripts/acpi_golden.py writes them anew."""
import difflib
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import acpi_golden  # noqa: E402


@pytest.mark.skipif(not shutil.which("iasl"), reason="acpica-tools is not installed")
@pytest.mark.parametrize("name", acpi_golden.MACHINES)
def test_tables_are_as_they_were(name):
    kept = (acpi_golden.GOLDEN / f"{name}.dsl").read_text()
    text = acpi_golden.describe(name)
    assert text == kept, "".join(difflib.unified_diff(kept.splitlines(True), text.splitlines(True), "kept", "now", n=2))
