"""The pusher, a process of its own: copies complete clips and films of the time-lapse to another machine.

pusher.py    map of the process: one file after the other, until a signal
outbox.py    files that are to be sent, those that were, and those that may go
memory.py    what was sent, which survives a power cut
commands.py  command of curl or rclone that sends a file
sending.py   that command while it runs, with a limit of time
"""
