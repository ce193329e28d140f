"""The configuration: reading, checking and saving it. Every wing but system/ may import it.

default.toml    every key, its default and its meaning (no module, but the place to begin)
schema.py       the sections and keys, with their types and ranges
loading.py      reads and merges the files, and reports every problem
last_good.py    the copy of the last good configuration, and what is in force when the files are wrong
parsing.py      parses TOML, with the encodings and quotes of any editor
guessing.py     the section or key that somebody meant
converters.py   checks a value and converts it
addresses.py    grammar of networks, host names and origins
kinds.py        the kinds of cameras
saved.py        the settings and controls that were saved on request
users.py        the users of http.users_file
secret.py       files that hold one secret
broker.py       the login of [mqtt], with the files that it names
text.py         the type Value; values as TOML, or as short text
"""
