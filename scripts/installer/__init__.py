"""The program `scripts/install`. An artefact and each installed release contain a copy of it.

It needs nothing but Python's own library, because it runs where nothing is installed yet.

cli.py        the command line
commands.py   install, rollback, watch, uninstall, status, build-artefact
build.py      make an artefact
artefact.py   read and check an artefact
offer.py      the name of an artefact's release, and whether this host may have it
zstd.py       decompress it
repair.py     an artefact of an installed release, for another Python
releases.py   the releases side by side on the disk, and the link to the current one
presets.py    the preset: what the first boot of a copy of this machine enables
card.py       a card of scripts/build-image, and what it has besides
report.py     --status --json
service.py    the units of the current release, and whether it serves
camera.py     the camera of a unit, and whether it gives pictures
server.py     the server of a unit: its state in systemd, and its answers
soak.py       watch a new release in the background, and take it back if it does not last
machine.py    the host: commands, Python, apt
saved.py      what an uninstallation leaves of the state
"""
