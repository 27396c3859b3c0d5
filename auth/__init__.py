"""Who somebody is and what they may do in a room. Knows nothing of sockets, stores or documents."""
