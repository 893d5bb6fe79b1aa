"""The seven grades of a radiograph as patterns."""

from oacore.instruments.phantom.grades import NARROWINGS, OSTEOPHYTES

GRADES = ("kl", *OSTEOPHYTES, *NARROWINGS)
SIZES = {name: 5 if name == "kl" else 4 for name in GRADES}
