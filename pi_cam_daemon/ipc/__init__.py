"""Traffic between the camera process and the server; `camera`, `core` and the wings above may import it.

parts.py      the wire format of the stream: one ready part for each picture
slots.py      the shared memory for frames
protocol.py   framing: header, kinds, limits; reads messages from the socketpair
messages.py   payloads: camera info, control reports, stills, errors, commands
pace.py       how often pictures come, and how long a silence may last
controls.py   a camera's control: its type and limits; checks values for it
"""
