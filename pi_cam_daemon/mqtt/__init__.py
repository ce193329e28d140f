"""MQTT: the camera as a device of Home Assistant. Nothing of it is imported while mqtt.host is empty.

bridge.py       connects as configured, and tells /state how that goes
connection.py   one connection to the broker, made again whenever it ends; all of it in one thread
device.py       the camera in the broker: publishes state and events, and obeys commands
discovery.py    the description of the camera for Home Assistant
"""
