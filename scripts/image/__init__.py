"""The program `scripts/build-image`.

cli.py       the command line, and the order of the steps
disk.py      the image file and its two partitions
base.py      the kind of system on them
tree.py      the files that are added to it
rootfs.py    the ext4 partition, by debugfs: without root rights and without a mount
bootfs.py    the FAT partition, by mtools
chroot.py    the packages, if they are installed while the image is made
outputs.py   the files beside the image
"""
