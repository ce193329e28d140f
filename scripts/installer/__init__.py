"""The program `scripts/install`. An artefact and each installed release contain a copy of it.

It needs nothing but Python's own library, because it runs where nothing is installed yet.

cli.py        the command line
commands.py   install, rollback, uninstall, status, build-artefact
build.py      make an artefact
artefact.py   read and check an artefact
offer.py      the name of an artefact's release, and whether this host may have it
zstd.py       decompress it
repair.py     an artefact of an installed release, for another Python
releases.py   the releases side by side on the disk, and the link to the current one
presets.py    the preset: what the first boot of a copy of this machine enables
card.py       a card of scripts/build-image, and what it has besides
service.py    the units of the current release, and whether it serves
machine.py    the host: commands, Python, apt
saved.py      what an uninstallation leaves of the state
"""
