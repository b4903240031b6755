"""Event notification (RFC 6665): who wants to know of what, and the packages that say it.

`service` is what the exchange talks to. `notifier` keeps the subscriptions, `subscription` is one of them, `package`
what an event package is; `dialogs` (RFC 4235), `mailboxes` (RFC 3842), `presence` (RFC 3856) with `publications`
(RFC 3903) and `pidf` (RFC 3863), and `registrations` (RFC 3680) are the packages. `calls` watches the calls of the
extensions that somebody watches. The exchange is a notifier only: it subscribes to nothing.
"""
