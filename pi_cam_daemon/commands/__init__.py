"""One module for each command of the command line. Only `cli` imports it; it may import all but `daemon`.

arguments.py guesses of what an unknown command or argument means
output.py    exit statuses, messages on standard error, files that appear only when they are complete
snapshot.py  snapshot
cameras.py   list-cameras
config.py    config, check-config
users.py     add-user, remove-user
support.py   support-bundle
update.py    update: a release that is named
pull.py      update: the release at update.url, asked for by a timer
download.py  what both fetch
"""
