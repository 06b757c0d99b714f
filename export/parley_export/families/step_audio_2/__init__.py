"""Step-Audio 2: what a checkpoint of this family holds and how it becomes graphs."""
