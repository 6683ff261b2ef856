"""What stands around both ports: connections, rates, keys, the audit log, TLS; and what the control port answers."""
