"""CRMs that refuse what the vendors refuse: one module a kind of connector, with a class `Fake` in it."""
