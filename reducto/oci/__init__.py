"""The OCI layer: what is known of registries, and the one client that speaks to them.

Values without any input or output come first (`names`, `address`, `manifest`, `ranges`, `routes`, `errors`), then the
parts of HTTP that registries use (`header_fields`, `challenge`, `paging`, `origin`, `retry`), then one exchange
(`transport`, `http`), the credentials that it may carry (`credentials`, `tokens`), and typed operations (`client`).
"""
