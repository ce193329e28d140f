"""The camera process, which opens the camera and sends its pictures; only `commands` and above may import this wing.

process.py         main function of the process; executes the server's commands
sender.py          sends frames and answers to the server
source.py          interfaces of a source and of the sink that takes its pictures
choose.py          creates the source that the configuration asks for
usb.py             source: USB cameras and other cameras with a V4L2 node
usb_cameras.py     finds these cameras
raw_pictures.py    formats of their raw pictures, converted with OpenCV
usb_controls.py    controls of a USB camera
usb_pictures.py    converts their data to JPEGs of both sizes
v4l2.py            pictures of a camera through V4L2
v4l2_device.py     description of a V4L2 device, and its controls
csi.py             source: CSI cameras, through picamera2
csi_controls.py    controls of a CSI camera
csi_bitrate.py     the bitrate of the hardware encoder, adapted to the size of its pictures
csi_encoders.py    JPEG encoders for a CSI camera
csi_drawing.py     draws masks and overlay into the pictures of a CSI camera
csi_small.py       small pictures of a CSI camera
csi_picamera2.py   imports picamera2 and explains its exceptions
upstream.py        source: the pictures of another server (core/supervisor.py connects again)
upstream_http.py   HTTP client for them: redirects, cookies, certificates
upstream_login.py  answers to that server's demand for a password
http_response.py   reads an HTTP answer leniently
jpeg_stream.py     finds the JPEGs in a stream
pattern.py         source: the test picture
due.py             when the next small picture or look is due
behind.py          works on the newest picture in a thread of its own
small.py           makes small pictures, in such a thread
looks.py           looks at pictures for motion, in such a thread
motion.py          finds what moves in a row of small grey pictures
watcher.py         judges each look, and keeps the newest
__main__.py        starts the process: python -m pi_cam_daemon.camera
"""
