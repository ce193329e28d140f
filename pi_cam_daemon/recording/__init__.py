"""The recorder, a process of its own: watches the daemon like a viewer, and writes a clip when something happens.

recorder.py   map of the process: builds everything, runs until a signal
watch.py      thread that reads the daemon, and hands on what is to be recorded
feed.py       the daemon's pictures and events, through its local socket
picture.py    one picture, and the last seconds of them
moments.py    which pictures are recorded: those around an event
writer.py     thread that writes clips, and waits alone when a disk hangs
clip.py       one file that is being written
matroska.py   its bytes
shelf.py      the folder: oldest clips go when there is no room
"""
