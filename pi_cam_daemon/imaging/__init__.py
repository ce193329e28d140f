"""Pictures as data: JPEG, Exif, orientation and drawing; `camera`, `core` and `commands` may import it.

jpeg.py          parses, checks and repairs JPEGs
known.py         recognizes sound pictures of a stream by their header
orientation.py   turns and mirrors pictures; rotation_method = "exif"
turbojpeg.py     libjpeg-turbo's lossless transform
masks.py         finds and blackens the pixels that privacy masks cover
black_blocks.py  blackens the masked blocks of a JPEG without decoding it
grey.py          small grey pictures, to look for motion
shrink.py        makes small JPEGs: of JPEGs, which libjpeg-turbo decodes at a fraction of their size, or of pixels
exif.py          writes Exif segments
overlay.py       draws a line of text into each picture
local_time.py    local time, in the zone that this machine has now
no_signal.py     draws the picture shown while the camera delivers none
lettering.py     measures, wraps and draws text with OpenCV
hangul.py        draws Korean letters with an installed font
"""
