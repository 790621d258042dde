"""Says in words what made pip fail, from what it printed: its own message, and what to do."""

import re
from collections.abc import Sequence

from GANSynthesisLib.presentation import _, sentence

_LINES = 4  # of pip's message that are shown


def explain(lines: Sequence[str]) -> str:
    """pip's own last words, then a remedy where they are known; `lines` is what it printed."""
    said = "\n".join(lines)
    message = pip_message(lines)
    return " ".join(words for words in (message and sentence(message), _remedy(said)) if words)


def pip_message(lines: Sequence[str]) -> str:
    """The errors that pip printed, else its last lines, each once, as one text."""
    spoken = [line.strip() for line in lines if line.strip() and "[notice]" not in line]
    errors = [re.sub(r"^ERROR:\s*", "", line) for line in spoken if re.match(r"ERROR\b|\w+Error\b", line)]
    return "; ".join(dict.fromkeys((errors or spoken)[-_LINES:]))


def _remedy(said: str) -> str:
    """What to do about the first cause that the output names; empty where it names none that is known."""
    for pattern, words in _causes():
        if re.search(pattern, said, re.IGNORECASE):
            return words
    return ""


def _causes() -> list[tuple[str, str]]:
    """Pattern in pip's output -> remedy, the surest first."""
    return [
        (r"No space left|Errno 28|not enough space|disk.*full|WinError 112",
         _("The disk is full: free some gigabytes where Slicer is installed and in the folder for temporary files.")),
        (r"Permission denied|Errno 13|Access is denied|WinError 5\b",
         _("Slicer's folder may not be written: close other running Slicers, or install Slicer into a folder of your "
           "own.")),
        (r"ProxyError|Tunnel connection failed|407 Proxy|Cannot connect to proxy",
         _("The proxy was not passed: set the environment variable HTTPS_PROXY (http://user:password@host:port) and "
           "start Slicer again.")),
        (r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError",
         _("The certificate of the server was not accepted: where a proxy inspects connections, set the environment "
           "variable PIP_CERT to its certificate file and start Slicer again.")),
        (r"NewConnectionError|Failed to establish a new connection|name resolution|Name or service not known|"
         r"getaddrinfo failed|Network is unreachable|timed out|Connection refused|from versions: none",
         _("The server was not reached. Behind a proxy, set the environment variable HTTPS_PROXY. Offline, run "
           "PythonSlicer -m pip download with the same packages on a computer with network, copy the files here, set "
           "PIP_NO_INDEX=1 and PIP_FIND_LINKS to their folder, and start Slicer again.")),
        (r"ResolutionImpossible|conflicting dependencies",
         _("The packages need other versions than those that Slicer has: update Slicer.")),
        (r"Requires-Python|No matching distribution",
         _("There is no such package for this version of Slicer: update Slicer.")),
    ]
