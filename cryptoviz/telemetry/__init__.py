"""Log files, and spans of the way of a tick. The logger itself is `cryptoviz.log`."""
