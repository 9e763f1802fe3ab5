"""The demo: real baskets replayed as orders, and every figure compared with the same one computed by other code."""
