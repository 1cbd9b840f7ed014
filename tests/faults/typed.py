"""A command as it is typed, in a process that was forked for it."""

import os
import sys

from xctvol import cli


def run(arguments, messages):
    """Do what `xctvol ARGUMENTS` does; what it says goes to the file `messages`."""
    with open(messages, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["xctvol", *arguments]
    cli.main()
