"""What the exchange does with a caller itself: announcements, menus, queues, mailboxes; one file each.

`entries` is what the office has of them, `attendance` what they share. A service is a coroutine inside of the call's
own: it plays, listens and rings, and returns when the caller talks to somebody, or is to go on to the next step.
"""
