"""A sidecar in a process of its own, with the codec double: what the tests kill. Prints its port."""

import asyncio
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from sidecar.serve import start
from tests.support.sidecar_rig import double_codec, make_config


async def main() -> None:
    folder = Path(sys.argv[1])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    running = await start(make_config(folder, folder / "registry"), double_codec)
    print(running.data_port, flush=True)
    await stop.wait()
    await running.stop()


asyncio.run(main())
