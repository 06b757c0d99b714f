"""What a chunk must cost by sizes and arithmetic, and what a machine allows."""
