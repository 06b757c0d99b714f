"""PyTorch modules and front-end arithmetic that several families share; knows none of them."""
