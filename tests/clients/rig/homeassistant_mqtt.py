"""Run Home Assistant with an MQTT broker, added by the dialogue of its component mqtt.

homeassistant_mqtt.py PORT BROKER: its HTTP server is on 127.0.0.1:PORT, the broker on 127.0.0.1:BROKER. Standard output
gets the line "ready", and each new state of an entity as a line of JSON. A line "DOMAIN SERVICE JSON" on standard input
calls a service.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from homeassistant import auth, bootstrap, config_entries, loader
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.setup import async_setup_component

port, broker = map(int, sys.argv[1:])


@callback
def tell(event: Event) -> None:
    if state := event.data["new_state"]:
        print(json.dumps(state.as_dict(), default=str), flush=True)


async def main(folder: str) -> None:
    Path(folder, "configuration.yaml").touch()
    home = HomeAssistant(folder)
    home.config.skip_pip = True
    loader.async_setup(home)
    home.config_entries = config_entries.ConfigEntries(home, {})
    await home.config_entries.async_initialize()
    await bootstrap.async_load_base_functionality(home)
    home.auth = await auth.auth_manager_from_config(home, [], [])
    listen = {"server_host": ["127.0.0.1"], "server_port": port}
    assert await async_setup_component(home, "http", {"http": listen})
    await home.async_start()
    home.bus.async_listen("state_changed", tell)
    dialogue = await home.config_entries.flow.async_init("mqtt", context={"source": "user"})
    entered = {"broker": "127.0.0.1", "port": broker}
    done = await home.config_entries.flow.async_configure(dialogue["flow_id"], entered)
    assert done["type"] == "create_entry", done
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode():
        domain, service, data = line.split(maxsplit=2)
        await home.services.async_call(domain, service, json.loads(data))


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(folder))
