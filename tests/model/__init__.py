"""Random walks through the state machine, judged by an oracle."""
