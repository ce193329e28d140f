class Output:
    """The base that picamera2's encoders insist on."""
