"""Starts sidecars in processes that a test can kill. Each line of input forks one, which is quicker than a new start.

A line is a folder and an upstream, in JSON. The answer is the sidecar's process id and port.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from sidecar.app import reducto_codec
from sidecar.serve import start
from tests.support.sidecar_rig import make_config


async def serve(folder: Path, upstream: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    running = await start(make_config(folder, upstream), reducto_codec)
    print(json.dumps([os.getpid(), running.data_port]), flush=True)
    await stop.wait()
    await running.stop()


def main() -> None:
    for line in sys.stdin:
        folder, upstream = json.loads(line)
        child = os.fork()
        if not child:
            asyncio.run(serve(Path(folder), upstream))
            return
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


main()
