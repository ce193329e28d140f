"""What `scripts/install` does, and what an artefact and every installed release carry of it.

`commands` is the table of contents: install, rollback, uninstall, status. An `artefact` is what is installed, `build`
makes one; `releases` lie side by side on the disk, and the `service` runs the one that is current. `machine` is apt
and the rest of the system. Nothing beyond Python's own library: it runs where nothing is installed yet.
"""
