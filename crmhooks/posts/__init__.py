"""Posting to hooks over HTTP/1.1: the one exchange that a ringing call waits for, so it costs as little as it can."""
