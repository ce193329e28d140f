class Output:
    """The base class that picamera2's encoders require."""
