"""Everything that runs syncd somewhere: configuration of the services, images, and a real cluster on one machine."""
