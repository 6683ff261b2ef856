"""What the sidecar needs of the codec, as types, and the adapter that fulfils them with `reducto.codec`."""
