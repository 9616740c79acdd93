"""On the path, and never to be imported by a file."""

from victim.alarm import ring

ring("sleeper imported")
