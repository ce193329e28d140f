"""What a card made by scripts/build-image does when it boots, and what is told on it: nothing of the camera itself."""
