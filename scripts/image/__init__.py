"""What `build-image` consists of.

disk       the image file and its two partitions
bootfs     what is written to the FAT partition, with mtools
rootfs     what is written to the ext4 partition, with debugfs: no root, no mount
base       what kind of system it is that came in
tree       what is added to it
chroot     the packages, where they are installed now
outputs    the files beside the image
cli        the command line, and the order of all this
"""
