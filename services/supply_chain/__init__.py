"""Buying and placing stock: suppliers, warehouses, stores."""
