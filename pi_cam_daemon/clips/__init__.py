"""Clips on a disk: what the recorder writes, the server reads and the pusher sends. Only these may import it.

names.py      names of clips
listing.py    those in a folder, with their sizes
matroska.py   bytes of a clip, as they are written
reading.py    the same, read again, also if the file is cut or hostile
"""
