"""Native mode: the whole fleet as processes of one machine. `setup.sh` starts it."""
