"""Where bytes come from that are not local: registries, web servers, and the cache of what was fetched."""
