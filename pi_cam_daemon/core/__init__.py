"""The server's side of the camera: its process, its frames and its state. Only server/, commands/ and daemon.py use it.

supervisor.py   starts, checks, stops and restarts the camera process
spawn.py        starts one camera process
link.py         the server's end of the socket to the camera process
questions.py    commands that the camera process answers
frame.py        one frame, as a part of the stream
latest.py       the newest frame, and the demand for frames
last_camera.py  the camera that gave pictures last, remembered over restarts
health.py       the state of the camera, derived from observations
events.py       what happened: the last events
webhook.py      what happened, sent to an address
overdue.py      the picture that viewers see while one is overdue
no_signal.py    the pictures that viewers see while the camera gives none
"""
