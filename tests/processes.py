"""Questions about processes that may end while they are asked."""

import psutil


def alive(process):
    """Whether a process (or that of a number) runs; one that has ended and that nobody has waited for does not."""
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command(process):
    """Its command line as a text; nothing where it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie is none either
        return ""
