"""The asyncio shell around the sans-I/O SIP stack: sockets, the timer pump, limits. Nothing raises past this room."""
