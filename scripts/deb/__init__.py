"""The program `scripts/build-deb`. packaging/debian is what Debian's own helpers make of it.

cli.py      the command line
build.py    lay out the files of the package, and let dpkg-buildpackage pack them
version.py  the version as dpkg sorts it
"""
