"""Random histories against the replica, and recorded sessions against the server, all judged by Yjs."""
