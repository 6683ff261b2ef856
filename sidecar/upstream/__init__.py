"""Where blobs and manifests live: any registry over HTTP, or the embedded store. One interface, one suite."""
