"""What the services stand on: a pure kernel that several sides must compute alike, and the runtime of a process."""
