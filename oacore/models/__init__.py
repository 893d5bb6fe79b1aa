"""The encoders, one file each, and the heads that read them."""
