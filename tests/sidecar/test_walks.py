"""docs/architecture.md lists the modules of a push and of a pull in order; here both are walked for real."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tests.codec.samples import words
from tests.sidecar.conftest import OpenRig

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "architecture.md"
#: Folders whose modules belong to the path of a request; the others serve every part alike.
FOLDERS = ("api", "push", "pull", "records", "similarity", "cache", "codec")
SINGLE = ("sidecar/dispatch.py", "sidecar/middleware/observed.py")


class Walk:
    """Notes the sidecar's modules in the order in which the event loop's thread first enters them."""

    def __init__(self) -> None:
        self.modules: list[str] = []

    def __enter__(self) -> Walk:
        sys.setprofile(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _enter(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(str(ROOT / "sidecar")):
            module = str(Path(file).relative_to(ROOT))
            relevant = module in SINGLE or module.split("/")[1] in FOLDERS
            if relevant and module not in self.modules:
                self.modules.append(module)


def documented(name: str) -> list[str]:
    """The modules in the document's table of that name."""
    section = re.search(rf"<!-- {name}:.*?-->(.*?)<!-- end -->", DOCUMENT.read_text(), re.DOTALL)
    assert section is not None
    return re.findall(r"^\| \d+ \| `([^`]+)`", section[1], re.MULTILINE)


async def test_a_push_and_a_pull_pass_the_modules_that_the_document_names(new_rig: OpenRig) -> None:
    layer = words(300_000, 1)
    rig = await new_rig(state="origin")
    await rig.push_blob("other", b"the first request makes the connection")
    await rig.running.sidecar.runtime.activity.idle.wait()
    with Walk() as push:
        digest = await rig.push_blob("app", layer)
    assert await rig.metric("reducto_decisions_total", outcome="reduced", reason="reduced") == 1
    cold = await new_rig(state="cold")
    with Walk() as pull:
        answer = await cold.get_blob("app", digest)
    assert answer.body == layer
    assert push.modules == documented("push")
    assert pull.modules == documented("pull")
