"""The messages between the camera process and the server; `camera`, `core` and the wings above may import it.

protocol.py   framing: header, kinds, limits; reads messages from the socketpair
messages.py   payloads: camera info, control reports, stills, errors, commands
pace.py       how often pictures come, and how long a silence may last
controls.py   a camera's control: its type and limits; checks values for it
"""
