"""The flow decoder's settings: cost of each, and how far its sound is from the exact one."""
