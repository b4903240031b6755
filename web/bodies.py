"""What programs write to /api/v1."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pbxcore.control import ContactEntry


class ContactIn(BaseModel):
    """A contact as a program writes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    numbers: list[str] = []
    company: str = ""
    email: str = ""
    owner: str | None = None
    tags: list[str] = []
    instructions: str = ""
    vip: bool = False

    def entry(self, contact_id: str) -> ContactEntry:
        return ContactEntry(
            id=contact_id,
            name=self.name,
            numbers=tuple(self.numbers),
            company=self.company,
            email=self.email,
            owner=self.owner,
            tags=tuple(self.tags),
            instructions=self.instructions,
            vip=self.vip,
        )


class TransferIn(BaseModel):
    """Where a call is to go; `party` is the extension that leaves it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    to: str
    party: str | None = None


class SummaryIn(BaseModel):
    """What was said in a call; `contact_id` settles whose call it was when a number is shared."""

    model_config = ConfigDict(extra="forbid", strict=True)

    summary: str
    contact_id: str | None = None
