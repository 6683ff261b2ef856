"""The OCI distribution-spec conformance suite against the embedded store, bare and with everything reduced."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.sidecar.conftest import OpenRig
from tests.support.process import find_tool
from tests.support.requirements import require_tool
from tests.support.sidecar_rig import double_codec

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize(("codec", "enabled"), [(double_codec, False), (double_codec, True)], ids=["bare", "reduced"])
async def test_the_embedded_store_passes_all(new_rig: OpenRig, tmp_path: Path, codec: object, enabled: bool) -> None:
    require_tool("conformance-next")
    rig = await new_rig(codec=codec, enabled=enabled, min_blob_bytes=64)
    environment = {
        **os.environ,
        "OCI_VERSION": "1.1",
        "OCI_REGISTRY": rig.host,
        "OCI_TLS": "disabled",
        "OCI_RESULTS_DIR": str(tmp_path / "results"),
    }
    program = await asyncio.to_thread(find_tool, "conformance-next")
    process = await asyncio.create_subprocess_exec(
        str(program), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment, cwd=tmp_path
    )
    output = (await process.communicate())[0].decode()
    counts = dict(re.findall(r"^\s*(Pass|FAIL|Error)\.+:\s+(\d+)", output, re.MULTILINE))
    assert (counts["FAIL"], counts["Error"]) == ("0", "0"), re.findall(r"^.*: +FAIL$", output, re.MULTILINE)
    assert int(counts["Pass"]) > 800
