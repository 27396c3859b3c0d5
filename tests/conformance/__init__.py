"""One suite per port; one thin file per adapter."""
