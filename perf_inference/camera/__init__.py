"""Images from a device, a file, an address, a GStreamer pipeline or a folder, and what becomes of them when it goes."""
