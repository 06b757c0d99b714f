"""parley's command line; works over the public names of `parley` alone."""
