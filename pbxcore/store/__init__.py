"""What outlives the process: call records, contacts, users, bindings. SQLite in a file, or PostgreSQL."""

from pbxcore.store.database import Store, open
from pbxcore.store.sql import StoreInUse, StoreUnavailable

__all__ = ["Store", "StoreInUse", "StoreUnavailable", "open"]
