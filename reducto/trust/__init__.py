"""Who may vouch for what: signing keys, signed records, the audit log's chain, and the API keys of the control port."""
