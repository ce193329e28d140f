"""Boot and network of the machine. Only `commands` and `cli` import it; it knows nothing of the camera.

The first five are for a card that scripts/build-image made, the last two for any Pi.

In every module *root* is where the file system begins. Tests pass a folder of their own.

start.py         at each boot, before the camera: name the machine, apply pi-cam.toml, announce the page
pi_cam_toml.py   pi-cam.toml on the boot partition: find, read, check, and remove the passwords
given_users.py   its tables [viewers] and [admins]
wifi.py          its table [wifi], written for NetworkManager and the kernel
first_boot.py    at the first boot: install picamera2 if the image lacks it
network_watch.py mend a network that worked once and is lost
status_file.py   pi-cam-status.txt on the boot partition: addresses, camera, and what is wrong
"""
