"""The recorder, a process of its own: watches the daemon like a viewer, and writes clips and time-lapse.

recorder.py   map of the process: builds everything, runs until a signal
watch.py      thread that reads the daemon, and hands on what is to be recorded
feed.py       the daemon's pictures and events, through its local socket
picture.py    one picture, and the last seconds of them
moments.py    which pictures are recorded: those around an event
writer.py     thread that writes clips, and waits alone when a disk hangs
clip.py       the film of an event
schedule.py   when pictures of the time-lapse are due
timelapse.py  thread that asks for them
asking.py     one request to the daemon
days.py       the films of the time-lapse, one for each day
day.py        one of them, which goes on after a power cut
film.py       one file that is being written
shelf.py      the folder: oldest clips go when there is no room
"""
