"""The servers that are measured: installed, started and ended the same way."""
