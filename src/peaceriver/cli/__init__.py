"""The command line."""

#: 128 and the number of SIGINT, as shells have it.
EXIT_INTERRUPTED = 130
