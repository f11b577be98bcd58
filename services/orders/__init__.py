"""Order fulfilment of an online retailer."""
