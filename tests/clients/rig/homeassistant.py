"""Run Home Assistant with one camera, added by the dialogue of its component mjpeg.

homeassistant.py PORT STREAM SNAPSHOT: its HTTP server is on 127.0.0.1:PORT. Standard output gets the paths of the
stream and of the picture on its pages, one a line.
"""

import asyncio
import sys
import tempfile

from homeassistant import auth, bootstrap, config_entries, loader
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

port, stream, snapshot = sys.argv[1:]


async def main(folder: str) -> None:
    home = HomeAssistant(folder)
    home.config.skip_pip = True
    loader.async_setup(home)
    home.config_entries = config_entries.ConfigEntries(home, {})
    await home.config_entries.async_initialize()
    await bootstrap.async_load_base_functionality(home)
    home.auth = await auth.auth_manager_from_config(home, [], [])
    listen = {"server_host": ["127.0.0.1"], "server_port": int(port)}
    assert await async_setup_component(home, "http", {"http": listen})
    assert await async_setup_component(home, "camera", {})
    await home.async_start()
    entered = {"name": "yard", "mjpeg_url": stream, "still_image_url": snapshot, "verify_ssl": True}
    dialogue = await home.config_entries.flow.async_init("mjpeg", context={"source": "user"})
    done = await home.config_entries.flow.async_configure(dialogue["flow_id"], entered)
    assert done["type"] == "create_entry", done
    await home.async_block_till_done()
    path = home.states.get("camera.yard").attributes["entity_picture"]
    print(path.replace("/camera_proxy/", "/camera_proxy_stream/"), path, sep="\n", flush=True)
    await asyncio.Event().wait()


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(folder))
