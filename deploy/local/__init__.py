"""A real cluster of syncd on one machine, without containers: the services themselves, started as plain processes.

`deploy.local.cluster.LocalCluster` is the whole; `redis`, `kafka`, `postgres`, `nginx` and `nodes` are its parts, each
usable alone. Every part starts its members, waits until they really work, and lets a test kill, freeze and restart
any of them. Linux only: who a process is, and whether it lives, is read from /proc.
"""
