"""The messages that riverrun reads and writes, and their codecs."""
