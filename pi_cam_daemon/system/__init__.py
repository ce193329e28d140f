"""The machine: files, logs, systemd, network, processes. All wings may import it, except ipc/ and imaging/.

files.py       reads files, and replaces them so that a power cut does no harm
logs.py        format of the log, and limits on repeated messages
systemd.py     readiness, status, watchdog, reboot requests, socket activation
watchdog.py    probes that tell whether a loop still turns; daemon.py feeds the watchdog
wakeups.py     the queue of signals and messages that the main thread reads
children.py    command line and options of child processes
leaving.py     the end of a process whose threads still run
network.py     addresses of this machine, of the page and of peers
avahi.py       the announcement by mDNS
memory.py      what the allocator gives back, and what it keeps for the next picture
machine.py     board, temperature, power, clock, device nodes without permission
setup.py       paths of the installer, progress of the first boot
pulled.py      the last check for an update, which the timer made
beside.py      what processes beside the daemon tell of themselves
recordings.py  what the recorder does, and where it meets the daemon
pushed.py      what the pusher does
redaction.py   removes passwords and addresses from texts
"""
