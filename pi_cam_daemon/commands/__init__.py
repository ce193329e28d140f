"""One file for each command of the command line, except those that are a line in cli.py.

cameras   list-cameras
config    config, check-config
snapshot  snapshot
support   support-bundle
update    update
users     add-user, remove-user
output    exit statuses, messages, and files that appear only when they are complete
"""
