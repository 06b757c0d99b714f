"""Random weights of the published shapes, measured stage by stage."""
